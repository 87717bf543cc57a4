//! Tool: "did you mean".

/// What is longer is near to nothing; comparing it with everything would cost.
const LETTERS_MAX: usize = 512;

/// The nearest of what there is to what was written, if it is near.
pub fn nearest<'n>(word: &str, there_is: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    // A third of the letters may differ; one of two already makes another word.
    let letters = word.chars().count();
    let near = |known: &str| letters.max(known.chars().count()) / 3;
    there_is
        .into_iter()
        .filter(|known| letters <= LETTERS_MAX && known.chars().count().abs_diff(letters) <= near(known))
        .map(|known| (strsim::damerau_levenshtein(word, known), known))
        .filter(|(distance, known)| *distance <= near(known))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}
