"""Split a trained network between an ARM edge device and a cloud machine, inside Apache TVM."""
