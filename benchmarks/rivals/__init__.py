"""The libraries whose training and inference are compared with plans.

A rival's module has ``contestants(problem)`` -> {contest: {name: call}}, where a contest is "step" (a call trains on one batch and
gives the loss), "epoch" (on all of them, the mean loss) or "predict" (one example, an array). The peer of the same name starts it.
"""
