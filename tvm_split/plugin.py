"""What TVM calls at `import tvm`, through its `tvm.backends` entry points."""
