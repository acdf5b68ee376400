"""An :class:`~qleaky.integer.IntegerNetwork` as C99: :func:`c_model`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property

from qleaky.export.c.arrays import SUFFIXES, Array
from qleaky.export.c.context import Context
from qleaky.export.c.encoder import encoder_body
from qleaky.export.c.header import header
from qleaky.export.c.interface import CModel, ConstArray, StateTensor, Tensor
from qleaky.export.c.memory import Field, Layout, is_kept, scratch, state_size, temporary_key, tensor_field
from qleaky.export.c.names import check_name
from qleaky.export.c.neuron import mem_type, syn_type
from qleaky.export.c.operations import Operation
from qleaky.export.c.plan import operations
from qleaky.export.c.ports import code_types, emitting, input_ports, spike_ports, step_declaration, step_function
from qleaky.export.c.readouts import ReadoutPart, readout_part
from qleaky.export.c.refusals import check_network
from qleaky.export.c.shaping import copied
from qleaky.export.c.text import block, commented, function, loop
from qleaky.integer import FloatNetwork, IntegerNetwork
from qleaky.integer.layers import LIF, Delay, Readout

RUNTIME = ("qleaky_runtime.h", "qleaky_arrays.h")
# A core without them compiles the same source to the same bits.
DSP = "#if defined(__ARM_FEATURE_DSP) && !defined(QLEAKY_DSP)\n#define QLEAKY_DSP\n#endif\n"


def c_model(network: IntegerNetwork | FloatNetwork, name: str = "model", *, dsp: bool = False) -> CModel:
    """The C99 of a network: every symbol begins with ``name``; ``dsp`` lets kernels use the DSP extension where there is one.

    Every signal is an int32_t that the network's proof bounds, or 0 and 1 in bits. The code computes exactly what
    :func:`qleaky.run` does, keeps all that it writes in the caller's ``NAME_state``, and calls nothing.

    Raises:
        InputError: ``name`` cannot prefix C identifiers.
        LoweringError: a network that has no C form; all reasons.
    """
    check_name(name)
    return _Writer(Context(check_network(network), name, dsp=dsp)).model()


class _Writer:
    """The parts of one model."""

    def __init__(self, context: Context) -> None:
        self.context, self.prefix, self.network = context, context.prefix, context.network
        self.operations = operations(context)
        self.layout: Layout = scratch(context, self.operations)

    def model(self) -> CModel:
        context, parts = self.context, self.readouts
        functions = tuple(code for part in parts.values() for code in part.functions)
        fields = self.fields
        used = dict.fromkeys([*RUNTIME, *(name for operation in self.operations for name in operation.headers)])
        return CModel(
            name=self.prefix,
            digest=self.network.digest,
            num_steps=self.network.num_steps,
            step_function=step_function(context),
            inputs=input_ports(context),
            spikes=spike_ports(context),
            tensors=self.tensors,
            readouts=tuple(code.port for code in functions),
            constants=self.constants,
            header=header(context, fields, functions),
            source=self._source(tuple(used)),
            runtime=tuple(used),
            state_size=state_size(fields),
        )

    @cached_property
    def tensors(self) -> tuple[StateTensor, ...]:
        """Membranes, emissions and synaptic currents, layer by layer."""
        return tuple(tensor for lif in self.network.lif_layers for tensor in self._tensors(lif))

    def _tensors(self, lif: LIF) -> Iterator[StateTensor]:
        shape, name = self.network.signals[lif.name].shape, self.context.ids[lif.name]
        yield StateTensor(lif.name, "mem", Tensor(f"{name}_mem", mem_type(lif), shape))
        yield StateTensor(lif.name, "spk", Tensor(f"{name}_spk", self.context.emission(lif).ctype, shape))
        if lif.synapse is not None:
            yield StateTensor(lif.name, "syn", Tensor(f"{name}_syn", syn_type(lif), shape))

    @cached_property
    def readouts(self) -> dict[str, ReadoutPart]:
        """The C of every readout, by the name of its output."""
        return {self.network.output_name(readout): self._readout(readout) for readout in self.network.readouts}

    def _readout(self, readout: Readout) -> ReadoutPart:
        lif = next(lif for lif in self.network.lif_layers if lif.name == readout.layer)
        shape = self.network.signals[readout.layer].shape
        return readout_part(self.context, readout, Array(mem_type(lif), shape, lif.state.lowest, lif.state.highest))

    @property
    def constants(self) -> tuple[ConstArray, ...]:
        """Everything of qleaky_weights.c."""
        return tuple(array for operation in self.operations for array in operation.constants)

    @cached_property
    def fields(self) -> tuple[Field, ...]:
        """The members of the state, from the widest type to the narrowest."""
        kinds = {"mem": "membranes U", "spk": "what it emitted in the last step", "syn": "synaptic currents J"}
        found = [Field("uint32_t", "steps", None, f"Steps since the reset, {self.network.num_steps} at most.", zeroed=True)]
        found += [tensor_field(t.tensor, f"{t.layer}: {kinds[t.kind]}.") for t in self.tensors]
        found += [self._of_delay(delay) for delay in self.context.delays]
        found += [
            Field(array.element, self._still(key), array.length, f"{key.strip()}: computed in the first step after a reset.")
            for key, array in self._kept
        ]
        found += [part.field for part in self.readouts.values() if part.field is not None]
        found += self.layout.fields
        return tuple(sorted(found, key=lambda field: -(field.size // (field.length or 1))))

    def _of_delay(self, delay: Delay) -> Field:
        array, name = self.context.result(delay.name), f"{self.context.ids[delay.name]}_kept"
        return Field(array.element, name, array.length, f"{delay.name}: what it emits in the next step.", zeroed=True)

    @property
    def _kept(self) -> list[tuple[str, Array]]:
        """What is computed once and read in every step."""
        results = [(o.key, o.result) for o in self.operations if o.key is not None and o.result is not None]
        return [(key, array) for key, array in results if is_kept(self.context, key)]

    def _still(self, key: str) -> str:
        return f"{self.context.ids[key.strip()]}_still"

    def _place(self, key: str) -> str:
        """The C expression of the array in which something is stored."""
        if key in self.layout.places:
            return self.layout.places[key]
        for port in input_ports(self.context):
            if port.name == key:
                return port.argument
        layer = self.context.layers.get(key)
        if isinstance(layer, LIF):
            return f"state->{self.context.ids[key]}_spk"
        if isinstance(layer, Delay):
            return f"state->{self.context.ids[key]}_kept"
        return f"state->{self._still(key)}"

    def _source(self, runtime: tuple[str, ...]) -> str:
        prefix = self.prefix
        includes = ["qleaky_model.h", *runtime]
        head = commented(
            f"The network with the digest {self.network.digest} as C99, written by qleaky; qleaky_model.h says how to use it."
        )
        size = state_size(self.fields)
        assertion = f"QLEAKY_STATIC_ASSERT(sizeof({prefix}_state) == {size}u, {prefix}_state_has_{size}_bytes);\n"
        declared = "".join(f"extern const {a.ctype} {a.name}[{a.values.size}];\n" for a in self.constants)
        dsp = DSP if self.context.dsp else ""
        texts = [head + dsp + "".join(f'#include "{name}"\n' for name in includes), declared, assertion]
        for operation in self.operations:
            texts += [*(text.strip("\n") + "\n" for text in operation.helpers), operation.text(prefix)]
        texts += [self._reset(), self._step(), *self._encoders()]
        texts += [code.text for part in self.readouts.values() for code in part.functions]
        return "\n".join(texts)

    def _reset(self) -> str:
        lines = []
        for field in self.fields:
            if field.zeroed and field.length is None:
                lines.append(f"state->{field.name} = 0u;")
            elif field.zeroed and field.length is not None:
                zero = f"qleaky_put_{SUFFIXES[field.ctype]}(state->{field.name}, k, 0{'u' * (field.ctype == 'uint32_t')});"
                lines += loop("k", field.length, [zero])
        comment = "All membranes, currents, counts and delays are 0."
        return function(f"void {self.prefix}_reset({self.prefix}_state *state)", lines, comment)

    def _step(self) -> str:
        still = [self._call(operation) for operation in self.operations if not operation.moving]
        lines = block("if (state->steps == 0u)", still) if still else []
        lines += [self._call(operation) for operation in self.operations if operation.moving]
        sums = [line for part in self.readouts.values() for line in part.add]
        lines += block(f"if (state->steps < {self.network.num_steps}u)", [*sums, "++state->steps;"])
        for delay in self._delays():
            lines += self._delayed(delay)
        for port in spike_ports(self.context):
            lines += emitting(self.context.result(port.layer), self._place(port.layer), port.argument)
        used = set(re.findall(r"\w+", "\n".join(lines)))
        unused = [f"(void){port.argument};" for port in input_ports(self.context) if port.argument not in used]
        return function(step_declaration(self.context), [*unused, *lines], "One time step.")

    def _call(self, operation: Operation) -> str:
        arguments = ["state"] if operation.uses_state else []
        arguments += [self._place(source.key) for source in operation.sources]
        if operation.key is not None:
            arguments.append(self._place(operation.key))
        arguments += [self._place(temporary_key(operation, t.name)) for t in operation.temporaries]
        return f"{operation.function}({', '.join(arguments)});"

    def _delays(self) -> list[Delay]:
        """The delays in an order in which none is overwritten before another has read it."""
        waiting, ordered = list(self.context.delays), []
        while waiting:
            read = {self.context.root(delay.input) for delay in waiting}
            free = [delay for delay in waiting if delay.name not in read or self.context.root(delay.input) == delay.name]
            ordered += free or waiting  # delays that read each other in a circle are zero for ever
            waiting = [delay for delay in waiting if delay not in ordered]
        return ordered

    def _delayed(self, delay: Delay) -> list[str]:
        """The copy of what a delay emits in the next step."""
        source = self.context.source(delay.input, moving=True)
        place = self._place(source.key)
        places = {"source": f"({place})" if " + " in place else place, "result": self._place(delay.name)}
        return copied(source.array, self.context.result(delay.name), **places)

    def _encoders(self) -> Iterator[str]:
        for source in self.network.inputs:
            kind = code_types(self.context).get(source.name)
            if kind is not None:
                head = f"{kind.name} {kind.encoder}(int32_t raw, int32_t raw_frac_bits)"
                fmt = source.format
                comment = f"min(max(floor(raw * 2^({fmt.frac_bits} - raw_frac_bits) + 1/2), low), high) + {fmt.zero_point}"
                yield function(head, encoder_body(fmt, kind.name), comment)
