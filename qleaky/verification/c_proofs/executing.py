"""C functions without loops on symbolic integers: what they return and store, and what must hold for that to be defined."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import z3

from qleaky.verification.c_proofs.reading import Source, UnreadableError
from qleaky.verification.c_proofs.values import (
    INT,
    TYPES,
    UNSIGNED,
    Condition,
    CType,
    Term,
    Value,
    arithmetic,
    bitwise,
    chosen,
    compared,
    converted,
    flag,
    promoted,
    shifted,
)

_ARITHMETIC = frozenset("+-*/%")
_COMPARISONS = frozenset(("<", "<=", ">", ">=", "==", "!="))


@dataclass(eq=False)
class Cell:
    """What a pointer points to: one number that is read and written."""

    value: Value


@dataclass(eq=False)
class Machine:
    """Runs functions of ``source``; ``conditions`` collects what every operation on the way asks for."""

    source: Source
    conditions: list[Condition] = field(default_factory=list)

    def call(self, name: str, arguments: Sequence[Value | Cell], path: Term | None = None) -> Value:
        """The value that a function returns.

        Raises:
            UnreadableError: a function that is missing, or holds what has no meaning here, such as a loop.
        """
        return _Frame(self, name, z3.BoolVal(True) if path is None else path).run(arguments)


class _Frame:
    """One call: its variables, and under which condition the statement at hand is reached."""

    def __init__(self, machine: Machine, name: str, path: Term) -> None:
        self.machine, self.name, self.path = machine, name, path
        self.variables: dict[str, Value | Cell | None] = {}
        self.types: dict[str, CType] = {}
        self.result: Value | None = None
        self.live: Term = z3.BoolVal(True)

    def run(self, arguments: Sequence[Value | Cell]) -> Value:
        function = self.machine.source.function(self.name)
        parameters = function.decl.type.args.params
        if len(parameters) != len(arguments):
            self._refuse(f"takes {len(parameters)} arguments, and is given {len(arguments)}")
        for parameter, argument in zip(parameters, arguments, strict=True):
            self._bind(parameter, argument)
        self.returns = self._type(function.decl.type.type)
        self._execute(function.body)
        if self.result is None or not z3.is_false(z3.simplify(self.live)):
            self._refuse("may end without a return")
        assert self.result is not None
        return self.result

    def _bind(self, parameter: Any, argument: Value | Cell) -> None:
        pointer = type(parameter.type).__name__ == "PtrDecl"
        ctype = self._type(parameter.type.type if pointer else parameter.type)
        if pointer != isinstance(argument, Cell):
            self._refuse(f"takes {parameter.name} as {'a pointer' if pointer else 'a number'}, and is given the other")
        if isinstance(argument, Cell):
            if argument.value.type != ctype:
                self._refuse(f"is given a pointer to another type than that of {parameter.name}")
            self.variables[parameter.name] = argument
            return
        self.types[parameter.name] = ctype
        self.variables[parameter.name] = self._convert(argument, ctype)

    # Statements

    def _execute(self, statement: Any) -> None:
        kind = type(statement).__name__
        match kind:
            case "Compound":
                for each in statement.block_items or []:
                    self._execute(each)
            case "Decl":
                self.types[statement.name] = ctype = self._type(statement.type)
                given = None if statement.init is None else self._convert(self._number(statement.init), ctype)
                if statement.name in self.variables:
                    self._refuse(f"declares {statement.name} twice, which a proof here does not tell apart")
                self.variables[statement.name] = given
            case "Return":
                value = self._convert(self._number(statement.expr), self.returns)
                self.result = (
                    value if self.result is None else Value(z3.If(self.live, value.term, self.result.term), value.type)
                )
                self.live = z3.And(self.live, z3.Not(self._guard))
            case "If":
                self._branch(statement)
            case "EmptyStatement":
                pass
            case _:
                self._number(statement)

    @property
    def _guard(self) -> Term:
        return z3.BoolVal(True) if not self._guards else z3.And(*self._guards)

    _guards: tuple[Term, ...] = ()

    def _branch(self, statement: Any) -> None:
        condition, outer, live = self._number(statement.cond).truth, self._guards, self.live
        for holds, part in ((condition, statement.iftrue), (z3.Not(condition), statement.iffalse)):
            if part is not None:
                self._guards = (*outer, live, holds)
                self._execute(part)
        self._guards = outer

    # Expressions

    def _number(self, expression: Any) -> Value:
        """The value of an expression; a pointer alone has none."""
        method = getattr(self, f"_of_{type(expression).__name__.lower()}", None)
        if method is None:
            self._refuse(f"holds a {type(expression).__name__}, which has no meaning here")
        value: Value = method(expression)
        return value

    def _of_constant(self, expression: Any) -> Value:
        text = expression.value
        digits = text.rstrip("uU")
        if not re.fullmatch(r"0|[1-9][0-9]*|0[xX][0-9a-fA-F]+", digits):
            self._refuse(f"holds the constant {text}; decimal and hexadecimal ones of 32 bits have a meaning here")
        number, unsigned = int(digits, 0), len(digits) < len(text)
        if not unsigned and number > INT.highest and digits[:2].lower() == "0x":
            unsigned = True
        ctype = UNSIGNED if unsigned else INT
        if number > ctype.highest:
            self._refuse(f"holds the constant {text}, which has more than 32 bits")
        return Value.constant(number, ctype)

    def _of_id(self, expression: Any) -> Value:
        value = self.variables.get(expression.name)
        if not isinstance(value, Value):
            self._refuse(f"reads {expression.name}, which has no value there")
        assert isinstance(value, Value)
        return value

    def _of_cast(self, expression: Any) -> Value:
        return self._convert(self._number(expression.expr), self._type(expression.to_type.type))

    def _of_unaryop(self, expression: Any) -> Value:
        if expression.op == "*":
            return self._cell(expression).value
        value = promoted(self._number(expression.expr))
        match expression.op:
            case "-":
                return self._checked(arithmetic("-", Value.constant(0, value.type), value))
            case "+":
                return value
            case "~":
                return Value(~value.term, value.type)
            case "!":
                return flag(value.term == 0)
        self._refuse(f"uses the operator {expression.op}, which has no meaning here")

    def _of_binaryop(self, expression: Any) -> Value:
        operator = expression.op
        left = self._number(expression.left)
        if operator in ("&&", "||"):
            return self._short(operator, left, expression.right)
        return self._combined(operator, left, self._number(expression.right))

    def _combined(self, operator: str, left: Value, right: Value) -> Value:
        if operator in _ARITHMETIC:
            return self._checked(arithmetic(operator, left, right))
        if operator in ("<<", ">>"):
            return self._checked(shifted(operator, left, right))
        return compared(operator, left, right) if operator in _COMPARISONS else bitwise(operator, left, right)

    def _short(self, operator: str, left: Value, right: Any) -> Value:
        needed = left.truth if operator == "&&" else z3.Not(left.truth)
        value = self._under(needed, right)
        return flag(z3.And(left.truth, value.truth) if operator == "&&" else z3.Or(left.truth, value.truth))

    def _of_ternaryop(self, expression: Any) -> Value:
        condition = self._number(expression.cond).truth
        if_true = self._under(condition, expression.iftrue)
        if_false = self._under(z3.Not(condition), expression.iffalse)
        return chosen(condition, if_true, if_false)

    def _under(self, condition: Term, expression: Any) -> Value:
        """An expression that is evaluated where ``condition`` holds."""
        outer = self._guards
        self._guards = (*outer, condition)
        value = self._number(expression)
        self._guards = outer
        return value

    def _of_assignment(self, expression: Any) -> Value:
        target, value = expression.lvalue, self._number(expression.rvalue)
        old = (
            self._cell(target).value if type(target).__name__ == "UnaryOp" else self.variables.get(getattr(target, "name", ""))
        )
        if expression.op != "=":
            if not isinstance(old, Value):
                self._refuse("changes what has no value there")
            assert isinstance(old, Value)
            value = self._combined(expression.op[:-1], old, value)
        if type(target).__name__ == "UnaryOp":
            cell = self._cell(target)
            cell.value = new = self._stored(cell.value, self._convert(value, cell.value.type))
        elif type(target).__name__ == "ID" and target.name in self.types:
            new = self._stored(old if isinstance(old, Value) else None, self._convert(value, self.types[target.name]))
            self.variables[target.name] = new
        else:
            self._refuse("stores into what is neither a variable nor what a pointer points to")
        return new

    def _stored(self, old: Value | None, new: Value) -> Value:
        reached = z3.And(self.live, self.path, self._guard)
        return new if old is None else Value(z3.If(reached, new.term, old.term), new.type)

    def _of_funccall(self, expression: Any) -> Value:
        given = [] if expression.args is None else [self._argument(each) for each in expression.args.exprs]
        return self.machine.call(expression.name.name, given, z3.And(self.path, self.live, self._guard))

    def _argument(self, expression: Any) -> Value | Cell:
        if type(expression).__name__ == "ID" and isinstance(cell := self.variables.get(expression.name), Cell):
            return cell
        return self._number(expression)

    def _cell(self, expression: Any) -> Cell:
        inner = expression.expr if expression.op == "*" else None
        cell = self.variables.get(getattr(inner, "name", "")) if type(inner).__name__ == "ID" else None
        if not isinstance(cell, Cell):
            self._refuse("follows a pointer that is no parameter")
        assert isinstance(cell, Cell)
        return cell

    # What must hold

    def _convert(self, value: Value, ctype: CType) -> Value:
        return self._checked(converted(value, ctype))

    def _checked(self, result: tuple[Value, list[Condition]]) -> Value:
        value, conditions = result
        reached = z3.And(self.path, self.live, self._guard)
        for condition in conditions:
            self.machine.conditions.append(Condition(z3.Implies(reached, condition.holds), f"{self.name}: {condition.what}"))
        return value

    def _type(self, declaration: Any) -> CType:
        name = getattr(getattr(declaration, "type", None), "names", ["?"])
        standard = self.machine.source.types.get(name[0]) if len(name) == 1 else None
        if name in (["int"], ["unsigned", "int"]):
            return INT if name == ["int"] else UNSIGNED
        if standard is None:
            self._refuse(f"uses the type {' '.join(name)}, which is no integer of stdint.h with at most 32 bits")
        assert standard is not None
        return TYPES[standard]

    def _refuse(self, problem: str) -> NoReturn:
        raise UnreadableError(f"The C function {self.name} {problem}.")
