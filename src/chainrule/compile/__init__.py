"""`jit`: tracing a function, and running what it did as a program without Tensors."""
