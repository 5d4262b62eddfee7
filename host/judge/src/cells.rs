//! Puts the rows of `comparison.csv` together.

use bench_record::spreadsheet;

/// Puts one row together. The buffer is used again for the next.
#[derive(Default)]
pub struct RowWriter(Vec<u8>);

impl RowWriter {
    pub fn begin(&mut self) {
        self.0.clear();
    }

    /// A cell that may need quotes, and may look like a formula.
    pub fn text(&mut self, text: &str) -> &mut Self {
        let text = spreadsheet::cell(text);
        let bytes = text.as_bytes();
        let plain = memchr::memchr3(b',', b'"', b'\n', bytes).is_none() && !bytes.contains(&b'\r');
        if plain {
            self.0.extend_from_slice(bytes);
        } else {
            self.0.push(b'"');
            let mut from = 0;
            for quote in memchr::memchr_iter(b'"', bytes) {
                self.0.extend_from_slice(&bytes[from..=quote]);
                self.0.push(b'"');
                from = quote + 1;
            }
            self.0.extend_from_slice(&bytes[from..]);
            self.0.push(b'"');
        }
        self.0.push(b',');
        self
    }

    /// A cell that never needs quotes, such as a number.
    pub fn bare(&mut self, text: &str) -> &mut Self {
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(b',');
        self
    }

    pub fn whole(&mut self, mut number: u64) -> &mut Self {
        let mut digits = [0; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.0.extend_from_slice(&digits[at..]);
        self.0.push(b',');
        self
    }

    pub fn end(&mut self) {
        if let Some(last) = self.0.last_mut() {
            *last = b'\n';
        }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_when_they_must_be() {
        let mut row = RowWriter::default();
        row.begin();
        row.text("a").text("b,\"c\"").text("d\ne").whole(0).whole(u64::MAX).bare("");
        row.end();
        let text = std::str::from_utf8(row.bytes()).unwrap();
        assert_eq!(text, "a,\"b,\"\"c\"\"\",\"d\ne\",0,18446744073709551615,\n");
        row.begin();
        row.text("=1+1").text("-x,y").bare("-1.5");
        row.end();
        assert_eq!(std::str::from_utf8(row.bytes()).unwrap(), "'=1+1,\"'-x,y\",-1.5\n");
    }
}
