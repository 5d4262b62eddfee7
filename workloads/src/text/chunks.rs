//! Long texts in parts that an encoder reads whole.

/// The parts of a text: so many words each, the last perhaps fewer, of which `overlap` are those that the part before
/// ends with. A word is what stands between blanks. A text of few words is one part, as it stands.
#[must_use]
pub fn chunks(text: &str, words: usize, overlap: usize) -> Vec<&str> {
    let begins_and_ends = text.split_whitespace().map(|word| {
        let begin = word.as_ptr() as usize - text.as_ptr() as usize;
        (begin, begin + word.len())
    });
    let places: Vec<(usize, usize)> = begins_and_ends.collect();
    if places.len() <= words {
        return vec![text];
    }
    let step = words.saturating_sub(overlap).max(1);
    // The last part ends with the text; one that held nothing new is none.
    let firsts = (0..).step_by(step).take_while(|first| *first == 0 || first + overlap < places.len());
    let part = |first: usize| {
        let last = (first + words).min(places.len()) - 1;
        &text[places[first].0..places[last].1]
    };
    firsts.map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_in_a_part_and_neighbours_share_the_overlap() {
        let text = "a b  c\nd e f g";
        assert_eq!(chunks(text, 3, 0), ["a b  c", "d e f", "g"]);
        assert_eq!(chunks(text, 3, 1), ["a b  c", "c\nd e", "e f g"]);
        assert_eq!(chunks(text, 4, 2), ["a b  c\nd", "c\nd e f", "e f g"]);
        assert_eq!(chunks(text, 6, 5), ["a b  c\nd e f", "b  c\nd e f g"]);
    }

    #[test]
    fn a_short_text_is_one_part_as_it_stands() {
        for text in ["", " ", " a b ", "größer als"] {
            assert_eq!(chunks(text, 3, 1), [text]);
        }
    }

    #[test]
    fn every_text_is_covered_whatever_the_sizes() {
        let words: Vec<String> = (0..40).map(|number| number.to_string()).collect();
        for count in 1..40 {
            let text = words[..count].join(" ");
            for size in 1..10 {
                for overlap in 0..size {
                    let parts = chunks(&text, size, overlap);
                    let mut seen: Vec<&str> = parts.iter().flat_map(|part| part.split(' ')).collect();
                    assert!(parts.iter().all(|part| part.split(' ').count() <= size));
                    seen.sort_unstable();
                    seen.dedup();
                    assert_eq!(seen.len(), count, "{count} {size} {overlap}");
                    // No part lies within the one before.
                    assert!(parts.windows(2).all(|two| !two[0].ends_with(two[1])), "{parts:?}");
                }
            }
        }
    }
}
