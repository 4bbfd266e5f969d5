"""The public names, and where each is defined."""

from .deepinverse import (
    LinearPhysicsOperator as LinearPhysicsOperator,
    PhysicsOperator as PhysicsOperator,
    noise_from_deepinverse as noise_from_deepinverse,
    operator_from_physics as operator_from_physics,
    physics_from_operator as physics_from_operator,
    problem_from_physics as problem_from_physics,
    reconstructor_from_deepinverse as reconstructor_from_deepinverse,
    to_deepinverse as to_deepinverse,
)
from .foreign import require as require
from .network import (
    NetworkReconstructor as NetworkReconstructor,
    reconstructor_from_torch as reconstructor_from_torch,
)
from .pylops import operator_from_pylops as operator_from_pylops, operator_to_pylops as operator_to_pylops
from .scipy import operator_from_scipy as operator_from_scipy, operator_to_scipy as operator_to_scipy
