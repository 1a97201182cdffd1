"""What the exporters need of compact fields.

parts     features, color decoder and details of a field, in their simplest form
onnx      template and tensors of the ONNX graph
glsl      fragment shader and its textures
digits    adaptive entropy coding into characters of a page
recoding  latents coded for a page
html      data and scripts of a page: decoder.js, transform.js, details.js, page.js
"""
