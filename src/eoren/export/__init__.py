"""A field as something that runs without eoren: an ONNX graph, a fragment shader, a page."""
