"""A network timed whole and layer by layer beside TVM's default and onnxruntime: what `tvm-split bench` does."""
