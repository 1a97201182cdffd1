"""What the exporters need of compact fields.

parts   features and color decoder of a field, in their simplest form
onnx    template and tensors of the ONNX graph
"""
