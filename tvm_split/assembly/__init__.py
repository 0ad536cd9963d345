"""Assembly text -> its hot loops, what they are made of, and the cycles that they take by llvm-mca. Nothing here
compiles anything."""
