from qleaky.neuron import Leaky
from qleaky import surrogate
