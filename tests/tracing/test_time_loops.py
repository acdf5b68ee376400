"""Networks that loop over time in Python: loops are rolled up into the one step that they repeat."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from written import HIDDEN, T, Written, call, compared, layers_of, on_grid, refusal, sequence, step, zeros

from qleaky import QuantLinear, lower
from qleaky.integer import Delay


def two_layers(layers: Any, x: Tensor) -> Any:
    mem1, mem2, spikes = zeros(layers, x), zeros(layers, x, 3), []
    for t in range(len(x)):
        spk, mem1 = layers.lif1(layers.fc1(x[t]), mem1)
        spk, mem2 = layers.lif2(layers.fc2(spk), mem2)
        spikes.append(spk)
    return torch.stack(spikes)


def resets_first(layers: Any, x: Tensor) -> Any:
    mem1, mem2, spikes = layers.lif1.reset_mem(), layers.lif2.reset_mem(), []
    for now in x:
        spk, mem1 = layers.lif1(layers.fc1(now), mem1)
        spk, mem2 = layers.lif2(layers.fc2(spk), mem2)
        spikes.append(spk)
    return torch.stack(spikes)


def unbinds(layers: Any, x: Tensor) -> Any:
    mem1 = mem2 = None
    spikes = []
    for now in x.unbind(0):
        spk, mem1 = layers.lif1(layers.fc1(now), mem1)
        spk, mem2 = layers.lif2(layers.fc2(spk), mem2)
        spikes += [spk.unsqueeze(0)]
    return torch.cat(spikes)


def layer_by_layer(layers: Any, x: Tensor) -> Any:
    for fc, neurons, width in ((layers.fc1, layers.lif1, HIDDEN), (layers.fc2, layers.lif2, 3)):
        mem, spikes = zeros(layers, x, width), []
        for t in range(len(x)):
            spk, mem = neurons(fc(x[t]), mem)
            spikes.append(spk)
        x = torch.stack(spikes)
    return x


def currents_first(layers: Any, x: Tensor) -> Any:
    currents, mem1, mem2, spikes = layers.fc1(x), None, None, []
    for t in range(-len(x), 0):
        spk, mem1 = layers.lif1(currents[t, :, ...], mem1)
        spk, mem2 = layers.lif2(layers.fc2(spk), mem2)
        spikes.append(spk)
    return torch.stack(spikes, dim=0)


def preallocates(layers: Any, x: Tensor) -> Any:
    first, last = torch.zeros(len(x), x.shape[1], HIDDEN), torch.empty(len(x), x.shape[1], 3)
    mem1, mem2 = torch.zeros_like(first[0]), x.new_zeros(x.shape[1], 3)
    for t in range(len(x)):
        first[t], mem1 = layers.lif1(layers.fc1(x[t]), mem1)
        last[t], mem2 = layers.lif2(layers.fc2(first[t]), mem2)
    return last


def detaches(layers: Any, x: Tensor) -> Any:
    mem1, mem2, spikes = zeros(layers, x), zeros(layers, x, 3), []
    for t in range(len(x)):
        spk, mem1 = layers.lif1(layers.fc1(x[t]), mem1.detach())
        spk, mem2 = layers.lif2(layers.fc2(spk.clone()), mem2)
        spikes.append(spk)
    return torch.stack(spikes)


LOOPS = [two_layers, resets_first, unbinds, layer_by_layer, currents_first, preallocates, detaches]


@pytest.mark.parametrize("forward", LOOPS)
def test_every_way_to_loop_is_the_same_network(forward: Any) -> None:
    network = compared(Written(forward), sequence())
    assert layers_of(network) == [("fc1", "Linear"), ("lif1", "LIF"), ("fc2", "Linear"), ("lif2", "LIF")]
    assert network.digest == lower(Written(two_layers), sequence(), input_format=network.input.format).digest


def hidden_loop(layers: Any, x: Tensor) -> Any:
    layers.lif1.reset_mem()
    spikes = []
    for now in x:
        spikes.append(layers.lif1(layers.fc1(now)))
        layers.lif1.detach_hidden()
    return torch.stack(spikes)


def test_a_loop_over_layers_that_keep_their_states() -> None:
    compared(Written(hidden_loop, hidden=True), sequence())


def repeats(layers: Any, x: Tensor) -> Any:
    current, mem, spikes = layers.fc1(x), None, []
    for _ in range(T):
        spk, mem = layers.lif1(current, mem)
        spikes.append(spk)
    return torch.stack(spikes)


@pytest.mark.parametrize(
    "forward",
    [
        repeats,
        lambda layers, x: layers.lif1.sequence(layers.fc1(x).expand(T, -1, -1)),
        lambda layers, x: layers.lif1.sequence(layers.fc1(x.unsqueeze(0).repeat(T, 1, 1))),
        lambda layers, x: layers.lif1.sequence(layers.fc1(torch.stack([x] * T))),
    ],
)
def test_one_input_for_all_steps(forward: Any) -> None:
    network = compared(Written(forward), step())
    assert (network.input.time, network.num_steps) == ("static", T)


def test_num_steps_may_be_given_to_a_network_that_loops_by_itself() -> None:
    given = compared(Written(repeats), step(), num_steps=T)
    assert given.digest == compared(Written(repeats), step()).digest
    assert "step" in refusal(Written(repeats), step(), num_steps=T + 1)


# Feedback


def feeds_back(layers: Any, x: Tensor) -> Any:
    mem, spk, spikes = zeros(layers, x), zeros(layers, x), []
    for t in range(len(x)):
        spk, mem = layers.lif1(layers.fc1(x[t]) + layers.back(spk), mem)
        spikes.append(spk)
    return torch.stack(spikes)


def leaves_the_first_out(layers: Any, x: Tensor) -> Any:
    mem, spk, spikes = None, None, []
    for t in range(len(x)):
        current = layers.fc1(x[t])
        if t:
            current = current + layers.back(spk)
        spk, mem = layers.lif1(current, mem)
        spikes.append(spk)
    return torch.stack(spikes)


@pytest.mark.parametrize("forward", [feeds_back, leaves_the_first_out])
def test_spikes_of_the_step_before(forward: Any) -> None:
    back = QuantLinear(HIDDEN, HIDDEN, bias=False)
    network = compared(Written(forward, back=back), sequence())
    assert [type(layer).__name__ for layer in network.layers] == ["Linear", "Delay", "Linear", "Add", "LIF"]


def test_a_bias_that_is_missing_in_the_first_step_is_seen() -> None:
    back = QuantLinear(HIDDEN, HIDDEN)
    back.bias.data.fill_(1.0)
    compared(Written(feeds_back, back=back), sequence())
    message = refusal(Written(leaves_the_first_out, back=back), sequence())
    assert (
        "layer 'lif1': forward does something else at step 0 than at step 5: it feeds it linear 'fc1' of (the input)" in message
    )


def test_feedback_from_a_later_layer() -> None:
    def forward(layers: Any, x: Tensor) -> Any:
        last, mem1, mem2 = zeros(layers, x, 3), None, None
        for t in range(len(x)):
            spk, mem1 = layers.lif1(layers.fc1(x[t]) - layers.back(last), mem1)
            last, mem2 = layers.lif2(layers.fc2(spk), mem2)
        return last

    back = on_grid(nn.Linear(3, HIDDEN, bias=False))
    network = compared(Written(forward, back=back), sequence(), readout="spikes")
    assert [layer.input for layer in network.layers if isinstance(layer, Delay)] == ["lif2"]


def test_inputs_of_earlier_steps() -> None:
    def forward(layers: Any, x: Tensor) -> Any:
        mem, before, spikes = None, torch.zeros_like(x[0]), []
        for t in range(len(x)):
            spk, mem = layers.lif1(layers.fc1(x[t] - before), mem)
            before = x[t]
            spikes.append(spk)
        return torch.stack(spikes)

    assert ("input_delayed", "Delay") in layers_of(compared(Written(forward), sequence()))


def test_a_preallocated_tensor_may_be_read_one_step_later() -> None:
    def forward(layers: Any, x: Tensor) -> Any:
        spikes, mem = torch.zeros(len(x), x.shape[1], HIDDEN), None
        for t in range(len(x)):
            spikes[t], mem = layers.lif1(layers.fc1(x[t]) + layers.back(spikes[t - 1]), mem)
        return spikes

    back = QuantLinear(HIDDEN, HIDDEN)
    network = compared(Written(forward, back=back), sequence())
    assert network.digest == lower(Written(feeds_back, back=back), sequence(), input_format=network.input.format).digest


def test_a_layer_used_twice_in_a_step() -> None:
    def forward(layers: Any, x: Tensor) -> Any:
        mem1 = mem2 = zeros(layers, x)
        for t in range(len(x)):
            spk, mem1 = layers.lif1(layers.fc1(x[t]), mem1)
            spk, mem2 = layers.lif1(layers.inner(spk), mem2)
        return spk

    net = Written(forward, inner=QuantLinear(HIDDEN, HIDDEN))
    compared(net, sequence(), call, {"lif1": ["lif1", "lif1_2"]}, readout="spike_count")


def test_a_long_loop_is_no_deeper_than_a_short_one() -> None:
    def forward(layers: Any, x: Tensor) -> Any:
        mem, count = None, zeros(layers, x)
        for t in range(len(x)):
            spk, mem = layers.lif1(layers.fc1(x[t]), mem)
            count = count + spk
        return count

    network = lower(Written(forward), torch.zeros(1500, 1, 5), input_format="spikes")
    assert (network.num_steps, network.readout.kind) == (1500, "spike_count")
