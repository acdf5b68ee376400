"""Statements about packed lanes: adding words and taking sums out again loses nothing, up to each layer's own limits.

For fields of B bits (qleaky_lanes.h), with sums s[k] of field k over some events::

    even = sum of s[2k] * 2^(2Bk)        odd = sum of s[k] * 2^(B(k-1)), k >= 1        modulo 2^32

ADDED: one more word adds to both what its fields do to these sums, whatever they are; both are linear, so by induction they
are those of all events. TAKEN: while no s exceeds the layer's limit, the lanes are exactly the s. The limit is what the fields
of the emitted array can add up to in as many events as the emitted text lets pass before it empties the lanes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import z3

from qleaky.export.c.interface import CModel, ConstArray
from qleaky.verification.c_proofs.executing import Machine
from qleaky.verification.c_proofs.reading import Source, UnreadableError
from qleaky.verification.c_proofs.results import Open, Proved, Refuted, Result
from qleaky.verification.c_proofs.solving import Deadline, UndecidedError, counterexample, valued
from qleaky.verification.c_proofs.values import UNSIGNED, Condition, Term, Value

ADDED = "a packed word adds each of its fields to its own sum"
TAKEN = "no lane overflows before it is emptied"
# Words that a kernel of narrow fields adds before it widens their lanes: fixed in qleaky_lanes.h, whose loops are tested.
_WIDENINGS = {8: (), 4: (), 2: (4,), 1: (3, 15)}
_BLOCK = re.compile(r"product_rows = (\w+)_weights \+ .*? \* (\d+)u;(.*?)qleaky_sum_([1248])x\d+\(([^;]*)\);", re.S)
_PART = re.compile(r"product_part = product_left < (\d+)u \? product_left : (\d+)u;")


@dataclass(frozen=True)
class Packed:
    """One product of the text: the C name of its layer, and the stages of its lanes: field bits B, limit, and when emptied."""

    name: str
    stages: tuple[tuple[int, int, str], ...]


def packed_products(model: CModel) -> list[Packed]:
    """Every product with packed lanes, from its call and its array.

    Raises:
        UnreadableError: a call that has no array of whole rows, or is of no form that is known here, or packed weights that no
            call reads.
    """
    text, constants = Source(model.source).plain, {array.name: array for array in model.constants}
    products = [_product(*found.groups(), constants=constants) for found in _BLOCK.finditer(text)]
    calls = len(re.findall(r"\bqleaky_sum_[1248]x\d+\b", text))
    packed = {array.name for array in model.constants if array.name.endswith("_weights") and array.ctype == "uint32_t"}
    if len(products) != calls or {f"{product.name}_weights" for product in products} != packed:
        raise UnreadableError(
            f"The C text calls kernels of packed lanes {calls} times and has {len(packed)} arrays for them; a proof can read "
            f"{len(products)} of the calls."
        )
    return list(dict.fromkeys(products))


def _product(name: str, inputs: str, before: str, width: str, call: str, *, constants: Mapping[str, ConstArray]) -> Packed:
    array = constants.get(f"{name}_weights")
    if array is None or array.ctype != "uint32_t" or array.values.size % int(inputs):
        raise UnreadableError(f"There is no array {name}_weights of words in rows of {inputs}, as the C text reads it.")
    bits = int(width)
    words = array.values.astype(np.int64).reshape(-1, int(inputs), 1)
    fields = words >> np.arange(0, 32, bits) & ((1 << bits) - 1)
    largest, total = int(fields.max()), int(fields.sum(axis=1).max())
    given = [part.strip() for part in call.split(",")]
    part = _PART.search(before)
    whole = int(max(part.groups(), key=int)) * largest if part else total
    stages = [(bits << i, words * largest, f"{words} words") for i, words in enumerate(_WIDENINGS[bits])]
    if bits != 8:
        if not re.fullmatch(r"\d+u", given[3]):
            raise UnreadableError(f"The C text empties the lanes of {name} every {given[3]} events, which is no number.")
        most = int(given[3][:-1])
        stages.append((4, most * largest, f"{most} events"))
    if bits in (4, 8):
        stages.append((8, whole, f"{part.group(1)} events" if part else f"all {inputs} events"))
    return Packed(name, tuple(stages))


def prove_lanes(source: Source, products: list[Packed], names: Mapping[str, str], seconds: float) -> Iterator[Result]:
    """Both statements for every product; ``names``: the layers that C names stand for."""
    for product in products:
        layer = names.get(product.name, product.name)
        widths = {bits for bits, _, _ in product.stages}
        yield _decide(layer, ADDED, [_Lanes(source, bits, None) for bits in sorted(widths)], seconds)
        limited = [_Lanes(source, bits, limit) for bits, limit, _ in product.stages]
        yield _decide(layer, f"{TAKEN} ({', '.join(words for *_, words in product.stages)})", limited, seconds)


def _decide(layer: str, statement: str, lanes: list[_Lanes], seconds: float) -> Result:
    start, deadline = perf_counter(), Deadline.after(seconds)
    try:
        for each in lanes:
            if found := each.refute(deadline):
                what, inputs, c, wanted = found
                return Refuted(layer, statement, f"{what}, fields of {each.bits} bits", None, inputs, c, wanted)
    except UndecidedError as reason:
        return Open(layer, statement, str(reason))
    return Proved(layer, statement, perf_counter() - start)


_Found = tuple[str, dict[str, int], dict[str, int], dict[str, int]]


class _Lanes:
    """Lanes of fields of ``bits``; with a limit what is taken out of them, without what is added."""

    def __init__(self, source: Source, bits: int, limit: int | None) -> None:
        self.bits, self.limit = bits, limit
        self.conditions: list[Condition] = []
        self.machine = Machine(source, self.conditions)
        self.sums = [z3.BitVec(f"s{k}", 32) for k in range(32 // bits)]

    def refute(self, deadline: Deadline) -> _Found | None:
        claims = self._added() if self.limit is None else self._taken()
        assumption = z3.And(*([] if self.limit is None else [z3.ULE(s, self.limit) for s in self.sums]))
        defined = z3.And(*(condition.holds for condition in self.conditions))
        equal = z3.And(defined, *(got == wanted for _, got, wanted in claims))
        model = counterexample(assumption, equal, deadline)
        if model is None:
            return None
        unsigned = (1 << 32) - 1
        wrong = [(what, got, wanted) for what, got, wanted in claims if not z3.is_true(model.eval(got == wanted, True))]
        what, got, wanted = wrong[0] if wrong else ("an operation is undefined", *claims[0][1:])
        inputs = {
            str(term): valued(model, term) & unsigned for term in [z3.BitVec("w", 32), *self.sums] if model[term] is not None
        }
        return what, inputs, {"lanes": valued(model, got) & unsigned}, {"lanes": valued(model, wanted) & unsigned}

    def _call(self, name: str, *numbers: Term) -> Term:
        return self.machine.call(f"qleaky_{name}", [Value(number, UNSIGNED) for number in numbers]).term

    def _even(self, sums: list[Term]) -> Term:
        return z3.Sum([s << (self.bits * k) for k, s in enumerate(sums) if k % 2 == 0])

    def _odd(self, sums: list[Term]) -> Term:
        return z3.Sum([s << (self.bits * (k - 1)) for k, s in enumerate(sums) if k])

    def _added(self) -> list[tuple[str, Term, Term]]:
        w, lanes, field = z3.BitVec("w", 32), z3.BitVec("lanes", 32), (1 << self.bits) - 1
        fields = [z3.LShR(w, self.bits * k) & field for k in range(len(self.sums))]
        return [
            ("the even lanes", self._call(f"even_{self.bits}", lanes, w), lanes + self._even(fields)),
            ("the odd lanes", self._call(f"odd_{self.bits}", lanes, w), lanes + self._odd(fields)),
        ]

    def _taken(self) -> list[tuple[str, Term, Term]]:
        even, odd = self._even(self.sums), self._odd(self.sums)
        only, lane = self._call(f"only_odd_{self.bits}", even, odd), (1 << (2 * self.bits)) - 1
        found = []
        for k, wanted in enumerate(self.sums):
            word, place = (only if k % 2 else even), k // 2
            found.append((f"the sum of field {k}", z3.LShR(word, 2 * self.bits * place) & lane, wanted))
            if self.bits >= 4:
                got = self._call(f"lane{2 * self.bits}", word, z3.BitVecVal(place, 32))
                found.append((f"the sum of field {k}, taken out", got, wanted))
        return found
