"""`jit`: tracing a function, and running what it did as a program without Tensors.

Where to read: `jit` is the story of a call, and `variants` that of a program; each of the others has one idea, which
its first sentence tells.  A module imports from those that are named before it.

- what a program is: steps, calls, program
- a run is written down: contents, objects, traced, trace, inputs, names, outside, left, hidden, results, checks
- passes that keep every bit: guards, simplify, writes
- what repeats itself becomes a loop, and sums are done at once: signatures, stretches, repetition, repeated, reordering
- kernels, whose machine code is in `kernels/`: layouts, operations, groups, fuse, recompute, machine_loops, expand
- short axes are taken apart: separable, components
- without kernels: distributed, blocks, on_numpy
- printing: buffers, expressions, printed, printing
- a call: runs, replays, rounding, rolled, variants, limits, trials, jit
"""
