"""Step networks whose forward makes its states itself unless they are passed, and states behind a star."""

from typing import Any

import pytest
import torch
from torch import Tensor
from written import HIDDEN, OUTPUT, B, T, Written, compared, refusal, step, threaded

from qleaky import QuantLinear, lower


def made_on_the_way(layers: Any, x: Tensor, mem1: Any = None, mem2: Any = None) -> Any:
    mem1 = torch.zeros(len(x), HIDDEN) if mem1 is None else mem1
    mem2 = torch.zeros(len(x), OUTPUT) if mem2 is None else mem2
    spk, mem1 = layers.lif1(layers.fc1(x), mem1)
    spk, mem2 = layers.lif2(layers.fc2(spk), mem2)
    return spk, mem1, mem2


class MadeOnTheWay(Written):
    def forward(self, x: Tensor, mem1: Any = None, mem2: Any = None) -> Any:
        return self.function[0](self, x, mem1, mem2)


@pytest.mark.parametrize("sample", [(step(),), (step(), None, None), (step(), torch.zeros(B, HIDDEN))])
def test_states_that_are_none_at_first_may_be_left_out(sample: Any) -> None:
    compared(MadeOnTheWay(made_on_the_way), sample, threaded(HIDDEN, OUTPUT, back=[1, 2]), num_steps=T)


def test_other_arguments_that_are_left_out_keep_their_defaults() -> None:
    class Scaled(Written):
        def forward(self, x: Tensor, scale: float = 0.5, mem: Any = None) -> Any:
            return self.lif1(self.fc1(x) * scale, torch.zeros(len(x), HIDDEN) if mem is None else mem)

    network = lower(Scaled(step), step(), num_steps=T, input_format="spikes")
    assert float(network.layers[1].scale) / 2 ** network.layers[1].scale_frac_bits == 0.5


def test_states_that_cannot_be_left_out_are_asked_for() -> None:
    def recurrent(layers: Any, x: Tensor, spk: Any, mem: Any) -> Any:
        mem = torch.zeros(len(x), HIDDEN) if mem is None else mem
        spk = torch.zeros(len(x), HIDDEN) if spk is None else spk
        return layers.lif1(layers.fc1(x) + layers.back(spk), mem)

    net = MadeOnTheWay(recurrent, back=QuantLinear(HIDDEN, HIDDEN))
    assert "pass the states of one sample for them: sample_input=(x, mem1, mem2)" in refusal(net, step(), num_steps=T)


def test_states_behind_a_star_and_arguments_that_nothing_reads() -> None:
    def forward(layers: Any, x: Tensor, *mems: Tensor) -> Any:
        spk, mem1 = layers.lif1(layers.fc1(x), mems[0])
        return spk, mem1, *mems[1:]

    sample = (step(), torch.zeros(B, HIDDEN), torch.zeros(B, OUTPUT))
    compared(Written(forward), sample, threaded(HIDDEN, OUTPUT, back=[1, 2]), num_steps=T)
