"""A profile on a terminal: its table, and what a reader must know of it before a plan is made from it; no torch."""

from __future__ import annotations

from gelora_cli.allocation.layer_checks import control_warning, layer_warnings, moving_layers, weak_layers
from gelora_cli.allocation.structure import shared_blocks_note
from gelora_cli.commands.terminal import wrapped
from gelora_cli.core.artifacts.profile import IdProfile, LayerIdim
from gelora_cli.geometry.scale_rules import plateau
from gelora_cli.models.kinds.base import is_decoder_map


def profile_table(profile: IdProfile) -> str:
    """Return a profile as a table, a line per layer, a second one where scales were measured, and the warnings.

    The points of a layer are the states that are left once duplicates are collapsed.
    """
    marks = {weak.layer: weak.mark for weak in weak_layers(profile.layers)}
    lines = ["layer    idim   95 % interval      N/2      N/4   points"]
    for row in profile.layers:
        half, quarter = _number(row.half, 7, 3), _number(row.quarter, 7, 3)
        line = f"{row.layer:5d} {row.idim:7.3f}   {row.low:6.3f} {row.high:6.3f}  {half}  {quarter}  {row.used:7,}"
        lines.append(f"{line}  {marks[row.layer]}" if row.layer in marks else line)
    lines += scale_table(profile)
    structure = filter(None, [shared_blocks_note(profile.model_map)])
    remarks = [*structure, *(f"warning: {text}" for text in profile_warnings(profile)), *pooling_hint(profile)]
    return "\n".join([*lines, *map(wrapped, remarks)])


def scale_table(profile: IdProfile) -> list[str]:
    """Return the idims by GRIDE as lines, a column for each size of the neighbourhood; none where it has no scales."""
    numbers = profile.measured_scales
    if not numbers:
        return []
    heads = [f"n1={numbers[0]}", *map(str, numbers[1:]), "plateau", "N/8"]
    lines = [
        wrapped(
            "idim by the neighbours n1 and 2 n1 (GRIDE), n1 where it is flat, and the mean over eighths of the texts:"
        ),
        "layer" + "".join(f"{text:>8}" for text in heads),
    ]
    for row in profile.layers:
        idims = row.idims_by_scale
        cells = [_number(idims.get(number), 8, 2) for number in numbers]
        cells += [f"{_plateau_text(row):>8}", _number(row.eighth, 8, 2)]
        lines.append(f"{row.layer:5d}" + "".join(cells))
    return lines


def profile_warnings(profile: IdProfile) -> tuple[str, ...]:
    """Return what is wrong with a profile: that it is a control, that it moves with N, which layers say little."""
    warnings = (control_warning(profile), convergence_warning(profile), *layer_warnings(profile))
    return tuple(filter(None, warnings))


def convergence_warning(profile: IdProfile) -> str:
    """Return that the idim moves with the number of texts, beyond its intervals, and why; empty where it does not."""
    moving = moving_layers(profile.layers)
    if not moving:
        return ""
    worst = max(moving, key=_drift)
    parts = (("N/4", worst.quarter), ("N/2", worst.half), ("N", worst.idim))
    values = ", ".join(f"{value:.1f} at {name}" for name, value in parts if value is not None)
    return (
        f"idim has not converged in {len(moving)} of {len(profile.layers)} layers: of layer {worst.layer} it is "
        f"{values}, with the interval {worst.low:.1f} .. {worst.high:.1f}. It is a number of this sample, and so are "
        f"ranks made from it.{_why_it_moves(profile, worst)}"
        + ("" if profile.layers[-1].scales else " profile.scales=true shows other neighbourhoods.")
    )


def _why_it_moves(profile: IdProfile, row: LayerIdim) -> str:
    """Return what may make the idim of a layer move with the number of texts; empty if it goes up and down."""
    by_size = [value for value in (row.quarter, row.half, row.idim) if value is not None]
    if by_size == sorted(by_size):
        return " It rises with the number of texts: there are few texts for so many dimensions, and more may raise it."
    if by_size != sorted(by_size, reverse=True):
        return ""
    if profile.scale is not None and profile.scale > 1:
        return f" With more texts the {2 * profile.scale} nearest neighbours lie in a smaller neighbourhood."
    return (
        " Texts in families of near copies, such as minimal pairs, do that: with more texts the two nearest neighbours "
        "come from one family."
    )


def pooling_hint(profile: IdProfile) -> list[str]:
    """Return one line that recommends the last token for a decoder; none where another pooling is as good."""
    if profile.settings.pooling not in ("mean", "cls") or not is_decoder_map(profile.model_map):
        return []
    kind = profile.model_map.kind
    return [f"hint: {kind} is a decoder, whose last token alone has seen the whole text: try profile.pooling=last"]


def _plateau_text(row: LayerIdim) -> str:
    ends = plateau(row.scales)
    return "-" if ends is None else f"{ends[0]}-{ends[1]}"


def _drift(row: LayerIdim) -> float:
    """Return the largest ratio between the idim at N and at a part of N, at least 1."""
    means = [mean for mean in (row.half, row.quarter) if mean]
    return max((max(mean / row.idim, row.idim / mean) for mean in means if row.idim), default=1.0)


def _number(value: float | None, width: int, decimals: int) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:{width}.{decimals}f}"
