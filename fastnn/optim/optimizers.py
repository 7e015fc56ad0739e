"""The optimisers, with the arguments, defaults and trajectories of ``torch.optim``."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn.autograd import Tensor
from fastnn.functional import checks
from fastnn.kernels.update import operators

from .optimizer import Optimizer, Rule, check_betas, check_rates, refuse


class SGD(Optimizer):
    """Stochastic gradient descent: ``b = momentum b + (1 - dampening) g;  p -= lr b``, with Nesterov ``p -= lr (g + momentum b)``.

    Source: Sutskever et al., "On the importance of initialization and momentum in deep learning" (2013), with b scaled by 1/lr.

    Parameters
    ----------
    params : iterable of Tensors, or of dicts with "params" and options
    lr, momentum, dampening, weight_decay : float
    nesterov, maximize : bool
    foreach, differentiable, fused
        Only None or False.

    Raises
    ------
    TypeError, ValueError
        Naming the argument that is wrong.

    Examples
    --------
    >>> import numpy as np, fastnn
    >>> w = fastnn.tensor([1.0], requires_grad=True)
    >>> optimizer = fastnn.optim.SGD([w], lr=0.5)
    >>> (w * w).backward()
    >>> optimizer.step()
    >>> w
    tensor([0.], requires_grad=True)
    """

    def __init__(
        self, params: Any, lr: float = 1e-3, momentum: float = 0, dampening: float = 0, weight_decay: float = 0, nesterov: bool = False,
        *, maximize: bool = False, foreach: Any = None, differentiable: Any = False, fused: Any = None,
    ) -> None:  # fmt: skip
        refuse(foreach=foreach, differentiable=differentiable, fused=fused)
        if nesterov and not (checks.real("momentum", momentum) > 0 and checks.real("dampening", dampening) == 0):
            raise ValueError(f"nesterov: it needs momentum > 0 and dampening = 0, got {momentum} and {dampening}")
        super().__init__(params, {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
                                  "nesterov": bool(nesterov), "maximize": bool(maximize)})  # fmt: skip

    def check(self, group: dict[str, Any]) -> None:
        check_rates(group, "lr", "momentum", "weight_decay")
        checks.real("dampening", group["dampening"])

    def is_steady(self, group: dict[str, Any]) -> bool:
        return True

    def rule(self, parameter: Tensor, group: dict[str, Any]) -> Rule:
        momentum = group["momentum"]
        first = momentum != 0 and "momentum_buffer" not in self.state.get(parameter, {})
        buffer = self.memory(parameter, "momentum_buffer")[0] if momentum != 0 else None
        return Rule(
            operators.sgd, [buffer],
            (group["lr"], momentum, group["dampening"], group["nesterov"], group["weight_decay"], first, group["maximize"]),
        )  # fmt: skip


class Adagrad(Optimizer):
    """``s += g^2;  p -= lr / (1 + (step - 1) lr_decay) g / (sqrt(s) + eps)``.

    Source: Duchi, Hazan and Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic Optimization" (2011).

    Parameters
    ----------
    params : iterable of Tensors, or of dicts with "params" and options
    lr, lr_decay, weight_decay, initial_accumulator_value, eps : float
    maximize : bool
    foreach, differentiable, fused
        Only None or False.
    """

    def __init__(
        self, params: Any, lr: float = 1e-2, lr_decay: float = 0, weight_decay: float = 0, initial_accumulator_value: float = 0,
        eps: float = 1e-10, foreach: Any = None, *, maximize: bool = False, differentiable: Any = False, fused: Any = None,
    ) -> None:  # fmt: skip
        refuse(foreach=foreach, differentiable=differentiable, fused=fused)
        super().__init__(params, {"lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay,
                                  "initial_accumulator_value": initial_accumulator_value,
                                  "maximize": bool(maximize)})  # fmt: skip

    def check(self, group: dict[str, Any]) -> None:
        check_rates(group, "lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps")

    def is_steady(self, group: dict[str, Any]) -> bool:
        return group["lr_decay"] == 0

    def rule(self, parameter: Tensor, group: dict[str, Any]) -> Rule:
        (total,) = self.memory(parameter, "sum", fill=group["initial_accumulator_value"])
        lr = group["lr"] / (1 + (self.count(parameter) - 1) * group["lr_decay"])
        return Rule(operators.adagrad, [total], (lr, group["weight_decay"], group["eps"], group["maximize"]))


class Adadelta(Optimizer):
    """``s = rho s + (1 - rho) g^2;  d = g sqrt(a + eps) / sqrt(s + eps);  a = rho a + (1 - rho) d^2;  p -= lr d``.

    Source: Zeiler, "ADADELTA: An Adaptive Learning Rate Method" (2012), algorithm 1.

    Parameters
    ----------
    params : iterable of Tensors, or of dicts with "params" and options
    lr, rho, eps, weight_decay : float
    maximize : bool
    foreach, capturable, differentiable
        Only None or False.
    """

    def __init__(
        self, params: Any, lr: float = 1.0, rho: float = 0.9, eps: float = 1e-6, weight_decay: float = 0, foreach: Any = None,
        *, capturable: Any = False, maximize: bool = False, differentiable: Any = False,
    ) -> None:  # fmt: skip
        refuse(foreach=foreach, capturable=capturable, differentiable=differentiable)
        super().__init__(params, {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": bool(maximize)})

    def check(self, group: dict[str, Any]) -> None:
        check_rates(group, "lr", "eps", "weight_decay")
        checks.real("rho", group["rho"], 0.0, 1.0)

    def is_steady(self, group: dict[str, Any]) -> bool:
        return True

    def rule(self, parameter: Tensor, group: dict[str, Any]) -> Rule:
        squares, steps = self.memory(parameter, "square_avg", "acc_delta")
        self.count(parameter)
        return Rule(
            operators.adadelta, [squares, steps],
            (group["lr"], group["rho"], group["eps"], group["weight_decay"], group["maximize"]),
        )  # fmt: skip


class RMSprop(Optimizer):
    """``s = alpha s + (1 - alpha) g^2;  p -= lr g / (sqrt(s) + eps)``; centred, the square of the mean gradient is taken off s.

    Source: Hinton, lecture 6e of "Neural Networks for Machine Learning" (2012); centred: Graves, "Generating Sequences With
    Recurrent Neural Networks" (2013), section 4.2.

    Parameters
    ----------
    params : iterable of Tensors, or of dicts with "params" and options
    lr, alpha, eps, weight_decay, momentum : float
    centered, maximize : bool
    capturable, foreach, differentiable
        Only None or False.
    """

    def __init__(
        self, params: Any, lr: float = 1e-2, alpha: float = 0.99, eps: float = 1e-8, weight_decay: float = 0, momentum: float = 0,
        centered: bool = False, capturable: Any = False, foreach: Any = None, maximize: bool = False, differentiable: Any = False,
    ) -> None:  # fmt: skip
        refuse(capturable=capturable, foreach=foreach, differentiable=differentiable)
        super().__init__(params, {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay, "momentum": momentum,
                                  "centered": bool(centered), "maximize": bool(maximize)})  # fmt: skip

    def check(self, group: dict[str, Any]) -> None:
        check_rates(group, "lr", "alpha", "eps", "weight_decay", "momentum")

    def is_steady(self, group: dict[str, Any]) -> bool:
        return True

    def rule(self, parameter: Tensor, group: dict[str, Any]) -> Rule:
        (squares,) = self.memory(parameter, "square_avg")
        mean = self.memory(parameter, "grad_avg")[0] if group["centered"] else None
        buffer = self.memory(parameter, "momentum_buffer")[0] if group["momentum"] > 0 else None
        self.count(parameter)
        return Rule(
            operators.rmsprop, [squares, mean, buffer],
            (group["lr"], group["alpha"], group["eps"], group["weight_decay"], group["momentum"], group["maximize"]),
        )  # fmt: skip


class Adam(Optimizer):
    """``m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2;  p -= lr m' / (sqrt(v') + eps)``, m' and v' freed of their bias.

    Source: Kingma and Ba, "Adam: A Method for Stochastic Optimization" (2015), algorithm 1; ``amsgrad``: Reddi et al., "On the
    Convergence of Adam and Beyond" (2018).

    Parameters
    ----------
    params : iterable of Tensors, or of dicts with "params" and options
    lr : float
    betas : pair of float
    eps, weight_decay : float
    amsgrad, maximize, decoupled_weight_decay : bool
    foreach, capturable, differentiable, fused
        Only None or False.
    """

    def __init__(
        self, params: Any, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0,
        amsgrad: bool = False, *, foreach: Any = None, maximize: bool = False, capturable: Any = False, differentiable: Any = False,
        fused: Any = None, decoupled_weight_decay: bool = False,
    ) -> None:  # fmt: skip
        refuse(foreach=foreach, capturable=capturable, differentiable=differentiable, fused=fused)
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": bool(amsgrad),
                                  "maximize": bool(maximize), "decoupled_weight_decay": bool(decoupled_weight_decay)})  # fmt: skip

    def check(self, group: dict[str, Any]) -> None:
        check_rates(group, "lr", "eps", "weight_decay")
        check_betas("betas", group["betas"])

    def is_steady(self, group: dict[str, Any]) -> bool:
        return True

    def rule(self, parameter: Tensor, group: dict[str, Any]) -> Rule:
        mean, squares = self.memory(parameter, "exp_avg", "exp_avg_sq")
        largest = self.memory(parameter, "max_exp_avg_sq")[0] if group["amsgrad"] else None
        step = self.count(parameter)
        return Rule(
            operators.adam, [mean, squares, largest],
            (group["lr"], *group["betas"], group["eps"], group["weight_decay"], group["decoupled_weight_decay"], step, group["maximize"],
             False),
        )  # fmt: skip


class AdamW(Adam):
    """Adam with weight decay taken off the weights themselves: ``p *= 1 - lr weight_decay`` before each step.

    Source: Loshchilov and Hutter, "Decoupled Weight Decay Regularization" (2019), algorithm 2.

    Parameters
    ----------
    params : iterable of Tensors, or of dicts with "params" and options
    lr, betas, eps, weight_decay, amsgrad, maximize, foreach, capturable, differentiable, fused
        As for Adam.
    """

    def __init__(
        self, params: Any, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 1e-2,
        amsgrad: bool = False, *, maximize: bool = False, foreach: Any = None, capturable: Any = False, differentiable: Any = False,
        fused: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize, foreach=foreach, capturable=capturable,
            differentiable=differentiable, fused=fused, decoupled_weight_decay=True,
        )  # fmt: skip


class NAdam(Optimizer):
    """Adam with Nesterov's look-ahead, whose momentum warms up as ``mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2)``.

    Source: Dozat, "Incorporating Nesterov Momentum into Adam" (2016), algorithm 2.

    Parameters
    ----------
    params : iterable of Tensors, or of dicts with "params" and options
    lr : float
    betas : pair of float
    eps, weight_decay, momentum_decay : float
    decoupled_weight_decay, maximize : bool
    foreach, capturable, differentiable
        Only None or False.
    """

    def __init__(
        self, params: Any, lr: float = 2e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0,
        momentum_decay: float = 4e-3, decoupled_weight_decay: bool = False, *, foreach: Any = None, maximize: bool = False,
        capturable: Any = False, differentiable: Any = False,
    ) -> None:  # fmt: skip
        refuse(foreach=foreach, capturable=capturable, differentiable=differentiable)
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "momentum_decay": momentum_decay,
                                  "decoupled_weight_decay": bool(decoupled_weight_decay), "maximize": bool(maximize)})  # fmt: skip

    def check(self, group: dict[str, Any]) -> None:
        check_rates(group, "lr", "eps", "weight_decay", "momentum_decay")
        check_betas("betas", group["betas"])

    def rule(self, parameter: Tensor, group: dict[str, Any]) -> Rule:
        mean, squares = self.memory(parameter, "exp_avg", "exp_avg_sq")
        step, state = self.count(parameter), self.state[parameter]
        beta1, beta2 = group["betas"]
        now, after = (beta1 * (1 - 0.5 * 0.96 ** (t * group["momentum_decay"])) for t in (step, step + 1))
        # torch rounds the product to float32; without that the trajectories would part in the eighth digit
        product = state["mu_product"] = float(np.float32(state.get("mu_product", 1.0)) * np.float32(now))
        lr = group["lr"]
        return Rule(
            operators.nadam, [mean, squares],
            (lr, beta1, beta2, group["eps"], group["weight_decay"], group["decoupled_weight_decay"], step,
             lr * (1 - now) / (1 - product), lr * after / (1 - product * after), group["maximize"]),
        )  # fmt: skip
