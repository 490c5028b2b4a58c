"""One result per row: what bench/run writes as JSON and prints as a table."""
import dataclasses
import statistics


@dataclasses.dataclass
class Row:
    """Units are of the kind where less is better: `ratio` is reference_value / value, so that 1 is
    as good as the reference and 2 is twice as good."""
    bench: str
    case: str
    ours: str
    reference: str
    unit: str
    value: float
    reference_value: float
    ratio: float
    runs: int
    min: float
    max: float


def _ratio(value, reference_value):
    if value == reference_value:
        return 1.0  # also of nothing
    return round(reference_value / value, 3) if value else 0.0


def _row(value, reference_value, values, **names):
    return Row(value=round(value, 3), reference_value=round(reference_value, 3),
               ratio=_ratio(value, reference_value), runs=len(values),
               min=round(min(values), 3), max=round(max(values), 3), ours="icbd", **names)


def medians(bench, case, unit, values, reference, reference_values):
    """For what varies: the medians of both sides. min and max are of ours."""
    return _row(statistics.median(values), statistics.median(reference_values), values,
                bench=bench, case=case, unit=unit, reference=reference)


def worst(bench, case, unit, values, reference, limits):
    """For what has a limit in each run: the run that came nearest to its limit, or furthest over."""
    value, limit = max(zip(values, limits), key=lambda pair: pair[0] / pair[1])
    return _row(value, limit, values, bench=bench, case=case, unit=unit, reference=reference)


def _number(value):
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def table(rows):
    head = ("bench", "case", "unit", "icbd", "min - max", "reference", "ratio", "runs",
            "what the reference is")
    lines = [head] + [
        (r.bench, r.case, r.unit, _number(r.value), f"{_number(r.min)} - {_number(r.max)}",
         _number(r.reference_value), f"{r.ratio:.2f}", str(r.runs), r.reference) for r in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join("  ".join(word.ljust(width) for word, width in zip(line, widths)).rstrip()
                     for line in lines)
