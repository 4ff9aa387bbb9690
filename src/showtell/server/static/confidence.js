// Describes the model's confidence. It is the probability that a caption is good, so the page can
// say how many of ten such captions are.

const LEVELS = [
  { minimum: 0.6, level: "sure", title: "Fairly sure" },
  { minimum: 0.3, level: "unsure", title: "Unsure: check it" },
  { minimum: 0, level: "guess", title: "A guess: probably wrong" },
];

/** Return the level of a confidence (0 to 1), its title, the good captions of ten, a sentence. */
export function describeConfidence(confidence) {
  const { level, title } = LEVELS.find(({ minimum }) => confidence >= minimum) ?? LEVELS.at(-1);
  const goodOfTen = Math.round(confidence * 10);
  let share = `About ${goodOfTen} in 10`;
  if (goodOfTen === 0) share = "Fewer than 1 in 10";
  if (goodOfTen === 10) share = "Nearly all";
  return { level, title, goodOfTen, meaning: `${share} captions like this one are good.` };
}

/** Return the probability of a word as a whole percentage, with a non-breaking space. */
export function percentage(logProbability) {
  const percent = Math.exp(logProbability) * 100;
  return percent < 1 ? "less than 1\u00a0%" : `${Math.round(percent)}\u00a0%`;
}
