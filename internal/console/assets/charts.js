// Draws the tables of hours with uPlot: a bar for each hour or day, the used part
// wide and pale, the billed part narrow and strong in front of it. The page's own
// colours are used, and the times are UTC as everywhere here.
{
  const drawn = new Map(); // place → uPlot

  const utc = (seconds, options) => new Date(seconds * 1000).toLocaleString("en-GB", { timeZone: "UTC", ...options });
  const day = (at) => utc(at, { day: "numeric", month: "short" });
  const time = (at) => utc(at, { hour: "2-digit", minute: "2-digit" });

  // The table has only bars that are not empty.
  function values(place) {
    const from = Number(place.dataset.from), step = Number(place.dataset.step), bars = Number(place.dataset.bars);
    const middles = Array.from({ length: bars }, (_, i) => from + (i + 0.5) * step);
    const used = new Array(bars).fill(0), billed = new Array(bars).fill(0);
    const words = new Map();
    for (const row of document.getElementById(place.dataset.values).tBodies[0].rows) {
      const i = (Date.parse(row.querySelector("time").dateTime) / 1000 - from) / step;
      const [u, b] = row.querySelectorAll("data");
      used[i] = Number(u.value);
      billed[i] = Number(b.value);
      words.set(i, `${u.textContent} used, ${b.textContent} billed`);
    }
    return { from, step, to: from + bars * step, data: [middles, used, billed], words };
  }

  function draw(place) {
    const v = values(place);
    const style = getComputedStyle(place);
    const colour = (name) => style.getPropertyValue("--" + name).trim();
    const axis = { stroke: colour("muted"), font: "12px " + style.fontFamily, ticks: { show: false } };
    const readout = document.createElement("p");
    readout.className = "readout";
    readout.hidden = true;
    const plot = new uPlot({
      width: place.clientWidth, height: place.clientHeight, padding: [10, 18, 0, 0],
      legend: { show: false },
      cursor: { y: false, points: { show: false }, drag: { x: false, y: false }, sync: { key: "hours" } },
      scales: {
        x: { range: () => [v.from, v.to] },
        y: { range: (_, low, high) => [Math.min(0, low), uPlot.rangeNum(0, high > 0 ? high : 1, 0.05, true)[1]] },
      },
      axes: [
        { ...axis, grid: { show: false }, space: 64, size: 36,
          splits: (u, _, from, to, step) => {
            const all = [];
            for (let at = Math.ceil(from / step) * step; at <= to; at += step) all.push(at);
            return all;
          },
          incrs: v.step > 3600 ? [1, 2, 7, 14, 28].map((n) => n * 86400) : [1, 2, 3, 6, 12, 24, 48].map((n) => n * 3600),
          values: (u, at) => at.map((t, i) => v.step > 3600 ? day(t) : time(t) + (i === 0 || t % 86400 === 0 ? "\n" + day(t) : "")) },
        { ...axis, grid: { stroke: colour("line"), width: 1 }, space: 32,
          size: (u, labels) => 14 + 7 * Math.max(1, ...(labels ?? []).map((l) => l.length)),
          values: (u, at) => at.map((n) => n.toLocaleString("en-US")) },
      ],
      series: [
        {},
        { fill: colour("used"), width: 0, paths: uPlot.paths.bars({ size: [0.84, 64] }), points: { show: false } },
        { fill: colour("billed"), width: 0, paths: uPlot.paths.bars({ size: [0.44, 34] }), points: { show: false } },
      ],
      hooks: {
        setCursor: [(u) => {
          const i = u.cursor.idx;
          readout.hidden = i == null || u.cursor.left < 0;
          if (!readout.hidden) {
            const at = v.from + i * v.step;
            readout.textContent = `${day(at)}${v.step > 3600 ? "" : " " + time(at)}: ${v.words.get(i) ?? "nothing"}`;
          }
        }],
      },
    }, v.data, place);
    place.append(readout);
    drawn.set(place, plot);
  }

  function drawAll() {
    for (const [place, plot] of drawn) {
      if (!place.isConnected) {
        plot.destroy();
        sized.unobserve(place);
        drawn.delete(place);
      }
    }
    for (const place of document.querySelectorAll(".plot[data-values]")) {
      if (!drawn.has(place)) {
        draw(place);
        sized.observe(place);
      }
    }
  }

  function again() {
    for (const [place, plot] of drawn) {
      plot.destroy();
      place.replaceChildren();
      drawn.delete(place);
    }
    drawAll();
  }

  const sized = new ResizeObserver((all) => {
    for (const { target } of all) drawn.get(target)?.setSize({ width: target.clientWidth, height: target.clientHeight });
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  document.addEventListener("htmx:load", drawAll); // a part of the page was replaced
  drawAll();
}
