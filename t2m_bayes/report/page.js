"use strict";
// The calculator: the formulas of t2m_bayes/prediction.py, population.py and formulas.py on the
// exported posterior draws. tests/test_report_browser.py holds the two together.

(() => {
  const posterior = JSON.parse(document.getElementById("posterior").textContent);
  const { constants } = posterior;
  const names = Object.keys(posterior.metrics);
  const form = document.getElementById("request");
  const decoded = new Map();

  // ---- Draws ------------------------------------------------------------------------------------

  function array(index) {
    if (!decoded.has(index)) {
      const text = posterior.arrays[index];
      const bytes = Uint8Array.from(atob(text.slice(1)), (c) => c.charCodeAt(0));
      decoded.set(
        index,
        text[0] === "f" ? new Float32Array(bytes.buffer) : new Int8Array(bytes.buffer),
      );
    }
    return decoded.get(index);
  }

  const cellOf = (llm, device, session) =>
    posterior.cells.find((c) => c.llm === llm && c.device === device && c.session === session);

  // ---- Formulas ---------------------------------------------------------------------------------

  const padded = (tokens, width) => Math.ceil(tokens / width) * width;

  // Log prefill time of the smooth curve in sample i, without stairs.
  function logSmooth(draw, i, tokens, effect) {
    const [own, narrow, wide] = draw.work_share.map((share) => share[i]);
    const work =
      own * tokens +
      narrow * padded(tokens, constants.pads[0]) +
      wide * padded(tokens, constants.pads[1]);
    const compute =
      draw.token_s[i] *
      Math.exp(effect) *
      work *
      (work / constants.reference_prompt) ** draw.growth[i] *
      (1 + draw.quadratic[i] * tokens);
    const knee = constants.knee;
    return Math.log(compute) + Math.log1p((draw.floor_s[i] / compute) ** knee) / knee;
  }

  // Level (log s, in the middle of the tile) and rise of a tile, as functions of the sample.
  function stair(cell, draw, tile) {
    const measured = cell.draws.stairs[tile];
    if (measured) {
      const [level, rise] = measured.map(array);
      return (i) => [level[i], rise[i]];
    }
    const tiles = Object.keys(cell.normals);
    const normals = array(cell.normals[tile] ?? cell.normals[tiles[tile % tiles.length]]);
    const n = posterior.samples;
    const z = (row, i) => normals[row * n + i] / constants.normal_steps;
    const known = cell.draws.tile_effect[tile];
    const effect = known === undefined ? (i) => draw.tau_tile[i] * z(0, i) : (i) => array(known)[i];
    const middle = (tile - 0.5) * constants.tile;
    const [first, last] = [(tile - 1) * constants.tile + 1, tile * constants.tile];
    return (i) => {
      const at = (tokens) => logSmooth(draw, i, tokens, effect(i));
      return [
        at(middle) + draw.tau_stair[i] * z(1, i),
        at(last) - at(first) + ((draw.tau_rise[i] * constants.tile) / middle) * z(2, i),
      ];
    };
  }

  // How far decode lies off the line in its context, on the log scale, as a function of the sample.
  function departure(cell, inputTokens, outputTokens) {
    const [first, count] = [constants.first_octave, constants.octaves];
    const last = inputTokens + outputTokens - 1;
    const held = Object.entries(cell.draws.octaves).map(([octave, where]) => {
      const high = octave < count - 1 ? first * 2 ** octave : Infinity;
      const low = octave > 0 ? first * 2 ** (octave - 1) : 0;
      const steps = Math.max(Math.min(last, high) - Math.max(inputTokens, low), 0);
      return [steps / Math.max(outputTokens - 1, 1), array(where)];
    });
    return (i) => held.reduce((sum, [share, effect]) => sum + share * effect[i], 0);
  }

  // Draws of every metric of one request. An attribute new to CellDraws is in `draw` by itself; a
  // metric new to prediction.metric_draws needs its line in `metrics`.
  function metricDraws(cell, inputTokens, outputTokens) {
    const draw = {};
    for (const [name, where] of Object.entries(cell.draws)) {
      if (Number.isInteger(where)) draw[name] = array(where);
      else if (Array.isArray(where)) draw[name] = where.map(array);
    }
    const power =
      cell.power &&
      Object.fromEntries(Object.entries(cell.power).map(([name, where]) => [name, array(where)]));
    const [prefillNoise, decodeNoise] = cell.noise.map(array);
    const out = Object.fromEntries(names.map((m) => [m, []]));
    const steps = outputTokens - 1;
    const context = inputTokens + outputTokens / 2;
    const tile = padded(inputTokens, constants.tile) / constants.tile;
    const position = inputTokens / constants.tile - (tile - 0.5);
    const hasPrefill = Number.isFinite(draw.token_s[0]);
    const stairOf = hasPrefill ? stair(cell, draw, tile) : () => [NaN, NaN];
    const offLine = departure(cell, inputTokens, outputTokens);
    const longest = Math.log(constants.stall);
    const bounded = (noise) => Math.min(Math.max(noise, -longest), longest);
    for (let i = 0; i < posterior.samples; i++) {
      const [level, rise] = stairOf(i);
      const noise = bounded(draw.prefill_noise[i] * prefillNoise[i]);
      const prefill = Math.exp(level + rise * position + draw.prefill_session[i] + noise);
      const start = steps > 0 ? draw.start_s[i] : 0;
      const meanStep = draw.step_s[i] * (1 + draw.context[i] * context);
      const expected = (start + steps * meanStep) * Math.exp(offLine(i));
      const scale = steps > 0 ? Math.hypot(draw.decode_noise[i], draw.timer_s[i] / expected) : 0;
      const decode = expected * Math.exp(bounded(scale * decodeNoise[i] + draw.decode_block[i]));
      const metrics = { prefill_s: prefill, decode_s: decode, total_s: prefill + decode };
      if (power) {
        const growth = (context / constants.reference_context) ** power.exponent[i];
        const pace = steps > 0 ? (expected * Math.exp(bounded(draw.decode_block[i]))) / decode : 1;
        const decodePower =
          power.decode_w[i] * growth * (1 - power.dynamic[i] + power.dynamic[i] * pace);
        metrics.prefill_energy_j = power.prefill_w[i] * power.prefill_block[i] * prefill;
        metrics.decode_energy_j = decodePower * power.decode_block[i] * decode;
        metrics.energy_j = metrics.prefill_energy_j + metrics.decode_energy_j;
        metrics.power_w = metrics.energy_j / metrics.total_s;
      }
      for (const name of names) out[name].push(metrics[name]);
    }
    return out;
  }

  // Quantile of sorted values, between neighbours on a straight line, as NumPy has it.
  function quantile(sorted, level) {
    const position = level * (sorted.length - 1);
    const low = Math.floor(position);
    const high = Math.min(low + 1, sorted.length - 1);
    return sorted[low] + (sorted[high] - sorted[low]) * (position - low);
  }

  // ---- Words ------------------------------------------------------------------------------------

  const nameOf = (metric) => posterior.metrics[metric];

  const digits = (value) => value.toFixed(value < 9.995 ? 2 : value < 99.95 ? 1 : 0);

  // A value with a unit a person would choose.
  function readable(metric, value) {
    if (!Number.isFinite(value)) return "not known";
    if (metric.endsWith("_s")) {
      if (value === 0) return "0 s";
      if (value < 0.9995) return `${digits(value * 1e3)} ms`;
      if (value < 119.5) return `${digits(value)} s`;
      const seconds = Math.round(value);
      return `${Math.floor(seconds / 60)} min ${String(seconds % 60).padStart(2, "0")} s`;
    }
    const unit = metric.endsWith("_j") ? "J" : metric.endsWith("_w") ? "W" : "";
    return value < 9999.5 ? `${digits(value)} ${unit}` : `${digits(value / 1e3)} k${unit}`;
  }

  function element(name, attributes = {}, ...children) {
    const svg = ["svg", "circle", "line", "rect", "text"].includes(name);
    const made = svg
      ? document.createElementNS("http://www.w3.org/2000/svg", name)
      : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  // ---- The form ---------------------------------------------------------------------------------

  // Returns what was asked, or null where a field cannot be used; says which.
  function asked() {
    let usable = true;
    for (const [name, least, most] of [
      ["input_tokens", 1, 1e7],
      ["output_tokens", 1, 1e7],
      ["percent", 1, 99],
    ]) {
      const field = form.elements[name];
      const value = Number(field.value);
      const whole = name === "percent" || Number.isInteger(value);
      const good = field.value.trim() !== "" && value >= least && value <= most && whole;
      field.setAttribute("aria-invalid", String(!good));
      document.getElementById(`${name}-error`).textContent = good
        ? ""
        : name === "percent"
          ? "A number from 1 to 99."
          : "A whole number, 1 or more.";
      usable &&= good;
    }
    if (!usable) return null;
    return {
      llm: form.elements.llm.value,
      device: form.elements.device.value,
      session: form.elements.session.value,
      inputTokens: Number(form.elements.input_tokens.value),
      outputTokens: Number(form.elements.output_tokens.value),
      prob: Number(form.elements.percent.value) / 100,
    };
  }

  function warningsOf(cell, { inputTokens, outputTokens }) {
    const said = [...cell.warnings];
    for (const [what, value, words] of [
      ["input_tokens", inputTokens, "input tokens"],
      ["output_tokens", outputTokens, "output tokens"],
    ]) {
      const read = cell.read[what];
      if (read && (value < read[0] || value > read[1])) {
        said.push(
          `${value} ${words} lie outside the measured ${read[0]} to ${read[1]}: ` +
            "the band rests on the physics.",
        );
      }
    }
    return said;
  }

  // One row of the table: the metric, its median and its band.
  function row(metric, sorted, prob) {
    const bounds = [0.5, (1 - prob) / 2, (1 + prob) / 2].map((level) => quantile(sorted, level));
    const cells = bounds.map((value, k) =>
      element(
        "td",
        {},
        element(
          "data",
          { value: String(value), "data-metric": metric, "data-bound": ["median", "lower", "upper"][k] },
          readable(metric, value),
        ),
      ),
    );
    return element("tr", {}, element("th", { scope: "row" }, nameOf(metric)), ...cells);
  }

  // Twenty dots, each as likely as the others: a run in twenty takes no longer than the first dot.
  const DOTS = 20;
  function drawDots(metric, sorted, prob) {
    const figure = document.getElementById("dots");
    figure.replaceChildren();
    const values = Array.from({ length: DOTS }, (_, k) => quantile(sorted, (k + 0.5) / DOTS));
    const [lower, upper] = [(1 - prob) / 2, (1 + prob) / 2].map((level) => quantile(sorted, level));
    const from = Math.min(values[0], lower);
    const to = Math.max(values[DOTS - 1], upper);
    if (!(to > from)) {
      figure.append(element("text", { x: 200, y: 60, "text-anchor": "middle" }, "no spread to show"));
      return;
    }
    const [left, right, base, radius] = [28, 372, 92, 7];
    const x = (value) => left + ((value - from) / (to - from)) * (right - left);
    const stacks = new Map();
    figure.append(
      element("rect", {
        class: "band", x: x(lower), y: base + 3, width: x(upper) - x(lower), height: 6,
      }),
    );
    for (const value of values) {
      const bin = Math.round(x(value) / (2 * radius));
      const height = stacks.get(bin) ?? 0;
      stacks.set(bin, height + 1);
      figure.append(
        element("circle", {
          cx: bin * 2 * radius, cy: base - radius - height * 2 * radius, r: radius - 1,
          class: value >= lower && value <= upper ? "inside" : "outside",
        }),
      );
    }
    const tallest = Math.max(...stacks.values());
    const top = base - 2 * radius * tallest - 4;
    figure.setAttribute("viewBox", `0 ${top} 400 ${128 - top}`);
    const middle = quantile(sorted, 0.5);
    for (const [value, anchor] of [[lower, "start"], [upper, "end"]]) {
      figure.append(
        element(
          "text",
          { x: anchor === "start" ? x(value) - 20 : x(value) + 20, y: base + 28, "text-anchor": anchor },
          readable(metric, value),
        ),
      );
    }
    figure.append(
      element("line", { class: "median", x1: x(middle), x2: x(middle), y1: base, y2: base + 12 }),
    );
    figure.setAttribute(
      "aria-label",
      `${nameOf(metric)}: 20 equally likely outcomes from ${readable(metric, values[0])} to ` +
        `${readable(metric, values[DOTS - 1])}; median ${readable(metric, middle)}.`,
    );
  }

  const quoted = (word) => (/^[\w@+./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);

  function update() {
    const request = asked();
    const result = document.getElementById("result");
    result.hidden = !request;
    if (!request) {
      document.getElementById("answer").textContent = "No prediction: mend the fields above.";
      return;
    }
    const cell = cellOf(request.llm, request.device, request.session);
    const draws = metricDraws(cell, request.inputTokens, request.outputTokens);
    const sorted = Object.fromEntries(
      Object.entries(draws).map(([metric, values]) => [metric, Float64Array.from(values).sort()]),
    );
    document
      .getElementById("bands")
      .replaceChildren(...names.map((m) => row(m, sorted[m], request.prob)));

    const percent = Number((100 * request.prob).toFixed(2));
    const shown = form.elements.metric.value;
    const [lower, upper] = [(1 - request.prob) / 2, (1 + request.prob) / 2].map((level) =>
      readable(shown, quantile(sorted[shown], level)),
    );
    document.getElementById("answer").textContent =
      `${nameOf(shown)}: ${lower} to ${upper} with ${percent} % probability, ` +
      `median ${readable(shown, quantile(sorted[shown], 0.5))}.`;
    drawDots(shown, sorted[shown], request.prob);

    const warnings = warningsOf(cell, request);
    document
      .getElementById("warnings")
      .replaceChildren(...warnings.map((text) => element("li", {}, text)));
    const words = [
      `t2m predict${document.body.dataset.fit}`,
      `--model ${quoted(request.llm)}`,
      `--device ${quoted(request.device)}`,
      `--input-tokens ${request.inputTokens}`,
      `--output-tokens ${request.outputTokens}`,
      `--prob ${request.prob}`,
      `--session ${request.session}`,
    ];
    document
      .getElementById("command")
      .replaceChildren(...words.flatMap((word) => [element("span", {}, word), " "]));
  }

  form.addEventListener("input", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("calculator").hidden = false;
  update();
})();
