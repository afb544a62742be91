// What strokes are: straightened, measured, and three drawings to start with.

const TOLERANCE = 0.3; // units that a stroke may be straightened by
const HARD = 6; // units that the whole range of a pen's pressure counts as

// Leaves out points that lie on the way between others (Douglas and Peucker).
export function simplified(stroke) {
  const keep = new Set([0, stroke.length - 1]);
  const parts = [[0, stroke.length - 1]];
  while (parts.length) {
    const [first, last] = parts.pop();
    let worst = TOLERANCE, at = -1;
    for (let i = first + 1; i < last; i++) {
      const away = Math.max(toSegment(stroke[i], stroke[first], stroke[last]), pressed(stroke, i, first, last));
      if (away > worst) [worst, at] = [away, i];
    }
    if (at > 0) { keep.add(at); parts.push([first, at], [at, last]); }
  }
  return stroke.filter((_, i) => keep.has(i));
}

function toSegment([x, y], [ax, ay], [bx, by]) {
  const [dx, dy] = [bx - ax, by - ay], square = dx * dx + dy * dy;
  const along = square ? Math.min(1, Math.max(0, ((x - ax) * dx + (y - ay) * dy) / square)) : 0;
  return Math.hypot(x - ax - along * dx, y - ay - along * dy);
}

// What is kept and sent of strokes: nothing finer matters.
export const rounded = (strokes) => strokes.map((stroke) => stroke.map(([x, y, ...pressure]) =>
  [to(10, x), to(10, y), ...pressure.map((p) => to(100, p))]));
const to = (parts, x) => Math.round(parts * x) / parts;

// How far a point's pressure is from what lies between two others.
function pressed(stroke, i, first, last) {
  if (stroke[i].length === 2) return 0;
  const along = (i - first) / (last - first);
  return HARD * Math.abs(stroke[i][2] - stroke[first][2] * (1 - along) - stroke[last][2] * along);
}

export function distance(stroke, point) {
  return Math.min(...stroke.map((here, i) => toSegment(point, stroke[Math.max(0, i - 1)], here)));
}

// Three drawings to start with.
const arc = (x, y, rx, ry, from, to, n = 24) => Array.from({length: n + 1}, (_, i) => {
  const angle = (from + (to - from) * i / n) * Math.PI / 180;
  return [x + rx * Math.cos(angle), y + ry * Math.sin(angle)];
});
export const EXAMPLES = {
  umbrella: [
    arc(340, 330, 220, 210, 180, 360),
    arc(193, 330, 73, 34, 180, 360, 12), arc(340, 330, 74, 34, 180, 360, 12), arc(487, 330, 73, 34, 180, 360, 12),
    [[340, 300], [340, 520], ...arc(303, 520, 37, 40, 0, 180, 12)],
    [[340, 120], [340, 90]],
  ],
  heart: [
    [...arc(235, 250, 105, 100, 150, 330), ...arc(445, 250, 105, 100, 210, 390), [340, 560], [144, 300]],
  ],
  bell: [
    [[150, 480], ...arc(340, 300, 140, 170, 180, 360), [530, 480], [150, 480]],
    arc(340, 480, 50, 60, 0, 180, 12),
  ],
};
