"""What computes :meth:`qleaky.Leaky.sequence`: a C kernel where a compiler exists, else torch operations; equal bit for bit.

``torch_ops`` is the definition. ``lif.c`` repeats its operations one by one; ``build`` compiles it once into a private
cache, ``library`` loads and checks it, ``plan`` says what it covers, ``compiled`` calls it, and ``operator`` is the face of
both to torch.compile and torch.export. ``triton_forward`` and ``triton_backward`` are the same for CUDA, called by
``triton_kernel``: off by default, checked in Triton's interpreter, not yet run on a GPU.
"""
