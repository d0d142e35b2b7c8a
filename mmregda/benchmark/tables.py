"""Tables of results: mean and spread over seeds, by group of keypoints."""

from __future__ import annotations

import re
from typing import Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

import numpy as np

Table = Tuple[List[str], List[List[str]]]
# In points of PCK; of an error in percent.
_TOLERANCE = 2


def by_domain(metrics: Mapping[str, Optional[float]]) -> Dict[str, Dict[str, float]]:
    """What validation found, by domain: ``{'source': {'MCP': ...}, 'target': {...}}``.

    Of a domain with :class:`~mmregda.evaluation.GroupedPCKAccuracy` that is PCK by
    group, in percent; of another all of its metrics under their names, with whatever
    is called PCK in percent. A domain that is not validated, or has no labels, has
    nothing.

    Args:
        metrics (Mapping[str, float | None]): As validation names them, such as
            ``source/PCK/MCP``, as fractions; None is no number.
    """
    groups: Dict[str, Dict[str, float]] = dict(source={}, target={})
    found: Dict[str, Dict[str, float]] = dict(source={}, target={})
    for name, value in metrics.items():
        domain, _, rest = name.partition('/')
        if domain not in found or not rest:
            continue
        value = float('nan') if value is None else value
        if rest.startswith('PCK/'):
            groups[domain][rest[len('PCK/') :]] = round(100 * value, 2)
        elif rest.startswith('PCK'):
            found[domain][rest] = round(100 * value, 2)
        else:
            found[domain][rest] = float(f'{value:.6g}')
    return {domain: groups[domain] or found[domain] for domain in found}


def main_metric(names: Iterable[str]) -> str:
    """The metric that a table compares by, of those that are there.

    That is the average over all groups; or, of another package's metrics, the first
    of which more is better; or the first. Empty if there is none.
    """
    names = list(names)
    averages = [n for n in names if n == 'Avg' or n.endswith('/Avg')]
    better = [name for name in names if not less_is_better(name)]
    return next(iter([*averages, *better, *names]), '')


def less_is_better(name: str) -> bool:
    """Whether a metric is an error."""
    return bool(re.match(r'(P-|N-)?(EPE|NME|MPJPE)', name.rpartition('/')[2]))


def published_averages(metrics: Mapping[str, Optional[float]]) -> Dict[str, float]:
    """Avg of :class:`~mmregda.evaluation.PublishedPCK` in percent, by domain.

    Args:
        metrics (Mapping[str, float | None]): As in :func:`by_domain`.
    """
    found = {}
    for name, value in metrics.items():
        domain, _, rest = name.partition('/')
        if rest == 'PCK_published/Avg' and value is not None:
            found[domain] = round(100 * value, 2)
    return found


def spread(values: Sequence[float], sign: str = '', digits: str = '.1f') -> str:
    """Mean and sample standard deviation as text; a lone value has none.

    What is no number does not count; if none is one, the text is a dash.
    """
    values = [value for value in values if np.isfinite(value)]
    if not values:
        return '-'
    if len(values) < 2:
        return f'{values[0]:{sign}{digits}}'
    return f'{np.mean(values):{sign}{digits}} ± {np.std(values, ddof=1):{digits}}'


def table_of_methods(
    runs: Sequence[dict],
    domain: str = 'target',
    baselines: Sequence[str] = (),
    labels: Optional[Mapping[str, str]] = None,
) -> Table:
    """One row for each method, one column for each group of keypoints.

    Args:
        runs (Sequence[dict]): Each with ``method``, ``seed``, ``status``
            (``'done'`` or not) and, if done, what was found of each domain, as
            :func:`by_domain` gives it, and ``published``, as
            :func:`published_averages` does.
        domain (str): Whose metrics. Defaults to the target.
        baselines (Sequence[str]): Methods that others are compared with: the
            mean of the differences seed by seed becomes a column of each.
        labels (Mapping[str, str], optional): What to call the methods.

    Returns:
        tuple[list[str], list[list[str]]]: The head and the rows. A method of
        which some seeds failed says so, and its row is of the others; what was not
        found is a dash.
    """
    done = [run for run in runs if run['status'] == 'done']
    groups = list(dict.fromkeys(name for run in done for name in run[domain]))
    main = main_metric(groups)
    # Runs of before this metric, or of a config without it, have none.
    published = bool(done) and all(domain in run.get('published', {}) for run in done)
    head = ['', *groups, *['Avg as published'] * published]
    references = {
        method: {
            run['seed']: run[domain][main]
            for run in done
            if run['method'] == method and main in run[domain]
        }
        for method in baselines
    }
    references = {method: found for method, found in references.items() if found}
    head += [f'over {method}' for method in references]
    rows = []
    for method in dict.fromkeys(run['method'] for run in runs):
        of_method = [run for run in runs if run['method'] == method]
        found = [run for run in done if run['method'] == method]
        label = (labels or {}).get(method, method)
        if len(found) < len(of_method):
            label += f' ({len(found)} of {len(of_method)} seeds)'
        if not found:
            rows.append([label] + ['failed'] * (len(head) - 1))
            continue
        row = [label, *(_cell(found, domain, name) for name in groups)]
        if published:
            row.append(spread([run['published'][domain] for run in found]))
        for baseline, reference in references.items():
            gains = [
                run[domain][main] - reference[run['seed']]
                for run in found
                if run['seed'] in reference and main in run[domain]
            ]
            compared = method != baseline and gains
            digits = _digits(reference.values())
            row.append(spread(gains, '+', digits) if compared else '')
        rows.append(row)
    return head, rows


def _cell(runs: Sequence[dict], domain: str, name: str) -> str:
    values = [run[domain].get(name, float('nan')) for run in runs]
    return spread(values, digits=_digits(values))


def _digits(values: Iterable[float]) -> str:
    """How percent and pixels are written, or the fractions of another package."""
    return '.1f' if any(abs(value) > 1 or value == 0 for value in values) else '.4f'


def table_of_evidence(runs: Sequence[dict]) -> Table:
    """What may choose a method's settings: nothing that target labels know.

    Of each method's variants that one is marked as chosen whose predictions on
    the target are most consistent, among those whose accuracy on the source is
    at most two points below the best variant's: a model that forgets
    the task can be as consistent as it likes. Where the source is not validated,
    consistency alone decides; one whose consistency is no number is never chosen.

    Args:
        runs (Sequence[dict]): Each with ``method`` (a variant's name begins
            with its method's and a space), ``seed``, ``status`` and, if done,
            ``source`` and ``evidence``
            (:func:`~mmregda.evaluation.validators.consistency.label_free_evidence`).

    Returns:
        tuple[list[str], list[list[str]]]: The head and the rows, means over
        seeds. A variant of which a seed failed is not chosen.
    """
    done = [run for run in runs if run['status'] == 'done']
    main = main_metric(dict.fromkeys(name for run in done for name in run['source']))
    means: Dict[str, Optional[np.ndarray]] = {}
    for variant in dict.fromkeys(run['method'] for run in runs):
        of_variant = [run for run in runs if run['method'] == variant]
        means[variant] = None
        if all(run['status'] == 'done' for run in of_variant):
            figures = [_evidence(run, main) for run in of_variant]
            means[variant] = np.mean(figures, axis=0)
    rows = []
    for variant, figures in means.items():
        if figures is None:
            rows.append([variant, 'failed', '', '', ''])
            continue
        rivals = [
            other
            for name, other in means.items()
            if other is not None and name.split()[0] == variant.split()[0]
        ]
        chosen = len(rivals) > 1 and figures is _most_consistent(rivals, main)
        cells = [
            spread(figures[:1], digits=_digits(figures[:1])) if main else '',
            *(spread([figure], digits='.2f') for figure in figures[1:]),
        ]
        rows.append([variant, *cells, 'chosen' if chosen else ''])
    score = f'{main or "Avg"} on the source'
    return ['', score, 'confidence', 'consistency', ''], rows


def _evidence(run: dict, main: str) -> Tuple[float, float, float]:
    """The score on the source, confidence and consistency."""
    evidence = {
        name: float('nan') if value is None else 100 * value
        for name, value in run['evidence'].items()
    }
    score = run['source'].get(main, float('nan'))
    return score, evidence['confidence'], evidence['consistency']


def _most_consistent(rivals: Sequence[np.ndarray], main: str) -> Optional[np.ndarray]:
    sign = -1 if less_is_better(main) else 1
    scores = [sign * r[0] for r in rivals if not np.isnan(r[0])]
    able = list(rivals)
    if scores:
        best = max(scores)
        # Of an error, or of a metric that is a fraction.
        unit = abs(best) / 100 if sign < 0 else 0.01 if best <= 1 else 1
        able = [r for r in rivals if sign * r[0] >= best - _TOLERANCE * unit]
    able = [r for r in able if not np.isnan(r[2])]
    return max(able, key=lambda r: r[2]) if able else None


def to_markdown(table: Table) -> str:
    """A table in Markdown, figures to the right."""
    head, rows = table
    rule = ['---'] + ['--:'] * (len(head) - 1)
    return '\n'.join(f'| {" | ".join(cells)} |' for cells in [head, rule, *rows])
