//! The word that was probably meant.

/// The candidate that `word` is the start of, or else the one with the fewest typing mistakes between them, when they are few.
pub(super) fn to<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Nobody types that by mistake; the work grows with the length.
    let word: Vec<char> = word.chars().take(64).collect();
    let most = 1 + word.iter().filter(|c| **c != '-').count() / 3;
    let cost = |candidate: &str| {
        let candidate: Vec<char> = candidate.chars().collect();
        if word.len() > 3 && candidate.starts_with(&word) { 1 } else { distance(&word, &candidate) }
    };
    candidates
        .map(|candidate| (cost(candidate), candidate))
        .filter(|&(cost, _)| cost <= most)
        .min_by_key(|&(cost, _)| cost)
        .map(|best| best.1)
}

/// How many letters were left out, added, changed or swapped with their neighbour.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before = vec![0; b.len() + 1];
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let changed = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = changed.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(before[j - 2] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_mistakes_are_counted() {
        let count = |a: &str, b: &str| distance(&a.chars().collect::<Vec<_>>(), &b.chars().collect::<Vec<_>>());
        assert_eq!(count("host", "host"), 0);
        assert_eq!(count("hots", "host"), 1);
        assert_eq!(count("hst", "host"), 1);
        assert_eq!(count("hoost", "host"), 1);
        assert_eq!(count("", "host"), 4);
        assert_eq!(count("healthchek", "healthcheck"), 1);
    }

    #[test]
    fn only_what_is_near_is_suggested() {
        let flags = ["--host", "--port", "--http", "--max-connections", "--max-body"];
        assert_eq!(to("--hots", flags.into_iter()), Some("--host"));
        assert_eq!(to("--prot", flags.into_iter()), Some("--port"));
        assert_eq!(to("--max-conn", flags.into_iter()), Some("--max-connections"));
        assert_eq!(to("--verbose", flags.into_iter()), None);
        assert_eq!(to(&"x".repeat(100_000), flags.into_iter()), None);
    }
}
