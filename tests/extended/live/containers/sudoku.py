"""The three models of the Sudoku tutorial: a page, an evaluator that writes logic programs, and their solver."""

import json
import sys
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from .node import serve

RULES = """
1 { cell(R, C, N) : N = 1..9 } 1 :- R = 0..8, C = 0..8.
:- cell(R, C, N), cell(R, D, N), C < D.
:- cell(R, C, N), cell(S, C, N), R < S.
:- cell(R, C, N), cell(S, D, N), R / 3 == S / 3, C / 3 == D / 3, 9 * R + C < 9 * S + D.
#show cell/3.
"""


class Gui:
    """The page on which people design, and see the results."""

    messages: Any

    def __init__(self) -> None:
        self._designs: SimpleQueue[list[int]] = SimpleQueue()
        self._verdicts: list[dict[str, Any]] = []

    def take(self, cells: list[int]) -> None:
        """Receive a design that a person sent."""
        self._designs.put(cells)

    def page(self, path: str) -> tuple[str, str]:
        """Return the page, or the results of the designs so far."""
        if path.endswith("/state"):
            return "application/json", json.dumps(self._verdicts)
        return "text/html; charset=utf-8", Path(__file__).with_name("sudoku.html").read_text(encoding="utf-8")

    def nextDesign(self, request: Any, context: Any) -> Any:
        """Wait for a person's design, and block the call until then."""
        return self.messages.Design(cells=self._designs.get())

    def showVerdict(self, verdict: Any, context: Any) -> Any:
        """Keep the verdict for the page."""
        solved = {"solvable": verdict.solvable, "unique": verdict.unique, "solution": list(verdict.solution)}
        self._verdicts.append(solved)
        return self.messages.Empty()


class Evaluator:
    """Translates between designs and logic."""

    messages: Any

    def toProgram(self, design: Any, context: Any) -> Any:
        """Return rules and givens; two answers are enough to decide whether the solution is unique."""
        given = (
            f":- not cell({index // 9}, {index % 9}, {number})." for index, number in enumerate(design.cells) if number
        )
        return self.messages.Program(rules="\n".join([RULES, *given]), most_answers=2)

    def judge(self, answers: Any, context: Any) -> Any:
        """Read the first answer back into cells."""
        solution = [0] * 81
        for atom in answers.answers[0].atoms if answers.answers else ():
            row, column, number = map(int, atom.removeprefix("cell(").removesuffix(")").split(","))
            solution[9 * row + column] = number
        count = len(answers.answers)
        return self.messages.Verdict(solvable=count > 0, unique=count == 1, solution=solution if count else [])


class Solver:
    """Solves by answer set programming."""

    messages: Any

    def solve(self, program: Any, context: Any) -> Any:
        """Return at most the wanted number of answers."""
        import clingo  # only the solver needs it

        control = clingo.Control([str(program.most_answers)])
        control.add("base", [], program.rules)
        control.ground([("base", [])])
        answers = self.messages.AnswerSets()
        with control.solve(yield_=True) as models:
            for model in models:
                answers.answers.append(self.messages.AnswerSet(atoms=[str(it) for it in model.symbols(shown=True)]))
        return answers


def _no_page(path: str) -> tuple[str, str]:
    return "text/plain", "nothing to see here"


if __name__ == "__main__":
    gui = Gui()
    match sys.argv[1]:
        case "gui":
            serve("sudoku_gui.proto", gui, gui.page, gui.take)
        case "evaluator":
            serve("sudoku_design_evaluator.proto", Evaluator(), _no_page)
        case "solver":
            serve("sudoku_asp_solver.proto", Solver(), _no_page)
