"""`python -m tvm_split.cli`."""

from tvm_split.cli import main

main()
