"""What the exporters need of compact fields.

parts   features and color decoder of a field, in their simplest form
glsl    fragment shader and its textures
onnx    template and tensors of the ONNX graph
"""
