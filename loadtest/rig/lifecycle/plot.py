"""A plot without a library: resident memory over time, as SVG."""

WIDTH, HEIGHT = 960, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 50, 50
COLOURS = ("#1f6feb", "#d1242f", "#1a7f37", "#8250df", "#bf8700", "#57606a")
TICKS = 6
STEPS = (1, 2, 5)


def svg(title, series, marks=()):
    """`series` is (name, [(seconds, MiB)]), `marks` is (seconds, what happened)."""
    end = max(x for _, points in series for x, _ in points) or 1
    top = max(y for _, points in series for _, y in points) * 1.1 or 1

    def across(x):
        return LEFT + (WIDTH - LEFT - RIGHT) * x / end

    def down(y):
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * y / top

    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">'
    )
    yield f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>'
    yield f'<text x="{LEFT}" y="20" font-size="14">{title}</text>'
    for value in ticks(top):
        yield line(LEFT, down(value), WIDTH - RIGHT, down(value), "#d0d7de")
        yield f'<text x="{LEFT - 8}" y="{down(value) + 4:.1f}" text-anchor="end">{value:g}</text>'
    for value in ticks(end):
        place = f'x="{across(value):.1f}" y="{HEIGHT - BOTTOM + 18}"'
        yield f'<text {place} text-anchor="middle">{value:g}</text>'
    yield f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 12}" text-anchor="end">seconds</text>'
    yield f'<text x="8" y="{TOP - 12}">MiB</text>'
    for at, what in marks:
        yield line(across(at), TOP, across(at), HEIGHT - BOTTOM, "#57606a", ' stroke-dasharray="4 4"')
        yield f'<text x="{across(at) + 4:.1f}" y="{TOP + 10}" fill="#57606a">{what}</text>'
    for number, (name, points) in enumerate(series):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{across(x):.1f},{down(y):.1f}" for x, y in points)
        yield f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{path}"/>'
        x = LEFT + 130 * number
        yield f'<text x="{x}" y="{TOP - 12}" dx="30" fill="{colour}">{name}</text>'
    yield "</svg>"


def line(x1, y1, x2, y2, colour, more=""):
    """A straight line."""
    places = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {places} stroke="{colour}"{more}/>'


def ticks(top):
    """Round values from 0 to below `top`, about as many as fit."""
    scale = 1
    while True:
        for step in STEPS:
            if top / (step * scale) <= TICKS:
                return [step * scale * number for number in range(int(top / (step * scale)) + 1)]
        scale *= 10
