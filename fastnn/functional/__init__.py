"""Functions of arrays and Tensors, with the names, arguments and meaning of ``torch.nn.functional``."""

from .arithmetic import abs, add, clamp, divide, exp, log, maximum, minimum, multiply, negative, power, sqrt, subtract, where
from .linear import linear, matmul
from .shape import broadcast_to, cat, flatten, index, permute, reshape, squeeze, stack, transpose, unsqueeze
