// How sure the model is, in words. A confidence is the chance that a caption is a good one, so it
// can be told as "so many of ten like it".

const LEVELS = [
  { from: 0.6, name: "sure", words: "Fairly sure" },
  { from: 0.3, name: "unsure", words: "Unsure: check it" },
  { from: 0, name: "guess", words: "A guess: probably wrong" },
];

/** Say what a confidence (0 to 1) means: level, a few words, how many of ten, and a sentence. */
export function confidenceInWords(confidence) {
  const { name, words } = LEVELS.find((level) => confidence >= level.from) ?? LEVELS.at(-1);
  const ten = Math.round(confidence * 10);
  const many = ten === 0 ? "Fewer than 1 in 10" : ten === 10 ? "Nearly all" : `About ${ten} in 10`;
  return { level: name, words, ten, meaning: `${many} captions like this one are good.` };
}

/** Say how likely a word was to the model, as a whole percentage on one line. */
export function percentage(logProbability) {
  const percent = Math.exp(logProbability) * 100;
  return percent < 1 ? "less than 1\u00a0%" : `${Math.round(percent)}\u00a0%`;
}
