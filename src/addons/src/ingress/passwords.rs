//! Passwords of htpasswd files. Pure.

use base64::Engine as _;
use sha_crypt::{Sha256Params, Sha512Params, sha256_crypt_b64, sha512_crypt_b64};

/// What stands before a salt and a digest by Apache's algorithm.
const APACHE: &str = "$apr1$";
/// The highest cost of bcrypt, and the most rounds of SHA-crypt, that are worked through: a second and more. Whoever writes
/// a larger number would have the proxy do nothing else.
const MOST_COST: u32 = 15;
const MOST_ROUNDS: usize = 1_000_000;
/// Rounds of SHA-crypt where a hash says nothing of them, and the longest salt (Drepper's specification).
const USUAL_ROUNDS: usize = 5000;
const LONGEST_SALT: usize = 16;

/// The hashes of a user of a htpasswd file.
pub fn hashes<'a>(lines: &'a str, user: &'a str) -> impl Iterator<Item = &'a str> {
    let hashes = lines.lines().filter_map(|line| line.trim().split_once(':'));
    hashes.filter(move |(name, _)| *name == user).map(|(_, hash)| hash)
}

/// Whether it takes long by design to tell whether a password is one with this hash.
pub fn is_slow(hash: &str) -> bool {
    hash.starts_with('$')
}

/// Whether a password has a hash: bcrypt (`htpasswd -B`), `$apr1$` (its default), SHA-crypt (`$5$`, `$6$`) or `{SHA}`
/// (`htpasswd -s`). No password has one of another form.
///
/// Blocks; see [`is_slow`].
pub fn is(hash: &str, password: &[u8]) -> bool {
    if let Some(expected) = hash.strip_prefix("{SHA}") {
        let found = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, password);
        let found = base64::engine::general_purpose::STANDARD.encode(found);
        return same(found.as_bytes(), expected.as_bytes());
    }
    let Some((scheme, rest)) = hash.strip_prefix('$').and_then(|rest| rest.split_once('$')) else {
        return false;
    };
    match scheme {
        "2a" | "2b" | "2y" => {
            let cost = rest.split_once('$').and_then(|(cost, _)| cost.parse::<u32>().ok());
            cost.is_some_and(|cost| cost <= MOST_COST) && bcrypt::verify(password, hash).unwrap_or(false)
        }
        "apr1" => rest.split_once('$').is_some_and(|(salt, expected)| {
            salt.len() <= 8 && same(apr1(password, salt.as_bytes()).as_bytes(), expected.as_bytes())
        }),
        "5" | "6" => sha_crypt(scheme, rest, password).unwrap_or(false),
        _ => false,
    }
}

/// SHA-crypt (`[rounds=N$]SALT$DIGEST`); none where that cannot be read.
fn sha_crypt(scheme: &str, rest: &str, password: &[u8]) -> Option<bool> {
    let (rounds, rest) = match rest.strip_prefix("rounds=") {
        Some(rest) => rest.split_once('$').map(|(rounds, rest)| (rounds.parse().ok(), rest))?,
        None => (Some(USUAL_ROUNDS), rest),
    };
    let rounds = rounds.filter(|rounds| *rounds <= MOST_ROUNDS)?;
    let (salt, expected) = rest.split_once('$').filter(|(salt, _)| salt.len() <= LONGEST_SALT)?;
    let salt = salt.as_bytes();
    let found = match scheme {
        "5" => sha256_crypt_b64(password, salt, &Sha256Params::new(rounds).ok()?).ok()?,
        _ => sha512_crypt_b64(password, salt, &Sha512Params::new(rounds).ok()?).ok()?,
    };
    Some(same(found.as_bytes(), expected.as_bytes()))
}

/// Takes as long whatever differs.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

/// Apache's variant of the MD5-based crypt: a thousand digests, each of the one before, the password and the salt in turns.
fn apr1(password: &[u8], salt: &[u8]) -> String {
    let digest = md5(&[password, salt, password].concat());
    let mut first = [password, APACHE.as_bytes(), salt].concat();
    first.extend(digest.iter().cycle().take(password.len()));
    let mut bits = password.len();
    while bits > 0 {
        first.push(if bits & 1 == 1 { 0 } else { password.first().copied().unwrap_or(0) });
        bits >>= 1;
    }
    let mut digest = md5(&first);
    for round in 0..1000 {
        let mut next = Vec::with_capacity(2 * password.len() + salt.len() + 16);
        next.extend_from_slice(if round % 2 == 1 { password } else { &digest });
        if round % 3 != 0 {
            next.extend_from_slice(salt);
        }
        if round % 7 != 0 {
            next.extend_from_slice(password);
        }
        next.extend_from_slice(if round % 2 == 1 { &digest } else { password });
        digest = md5(&next);
    }
    let mut text = String::with_capacity(22);
    let byte = |at: usize| u32::from(digest.get(at).copied().unwrap_or(0));
    for (a, b, c) in [(0, 6, 12), (1, 7, 13), (2, 8, 14), (3, 9, 15), (4, 10, 5)] {
        spell((byte(a) << 16) | (byte(b) << 8) | byte(c), 4, &mut text);
    }
    spell(byte(11), 2, &mut text);
    text
}

/// Six bits a letter, the lowest first.
fn spell(mut value: u32, letters: usize, text: &mut String) {
    const LETTERS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    for _ in 0..letters {
        text.push(LETTERS.get((value & 63) as usize).map_or('.', |letter| char::from(*letter)));
        value >>= 6;
    }
}

/// MD5 (RFC 1321): good for nothing but what was written down with it.
fn md5(message: &[u8]) -> [u8; 16] {
    const SHIFTS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];
    let mut padded = message.to_vec();
    padded.push(0x80);
    padded.resize(padded.len().next_multiple_of(64), 0);
    if padded.len() - message.len() < 9 {
        padded.resize(padded.len() + 64, 0);
    }
    padded.truncate(padded.len() - 8);
    padded.extend((message.len() as u64).wrapping_mul(8).to_le_bytes());
    let mut state = [0x6745_2301_u32, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    for block in padded.chunks_exact(64) {
        let words: Vec<u32> = block
            .chunks_exact(4)
            .map(|word| word.iter().rev().fold(0, |all, byte| (all << 8) | u32::from(*byte)))
            .collect();
        let [mut a, mut b, mut c, mut d] = state;
        for step in 0..64_usize {
            let (mixed, word) = match step / 16 {
                0 => ((b & c) | (!b & d), step),
                1 => ((d & b) | (!d & c), 5 * step + 1),
                2 => (b ^ c ^ d, 3 * step + 5),
                _ => (c ^ (b | !d), 7 * step),
            };
            // The constants are the first bits of sines.
            let constant = ((step as f64 + 1.0).sin().abs() * 4_294_967_296.0) as u32;
            let word = words.get(word % 16).copied().unwrap_or(0);
            let shift = SHIFTS.get(step / 16).and_then(|row| row.get(step % 4)).copied().unwrap_or(0);
            let sum = a.wrapping_add(mixed).wrapping_add(constant).wrapping_add(word);
            (a, d, c, b) = (d, c, b, b.wrapping_add(sum.rotate_left(shift)));
        }
        for (old, new) in state.iter_mut().zip([a, b, c, d]) {
            *old = old.wrapping_add(new);
        }
    }
    let mut digest = [0; 16];
    for (to, byte) in digest.iter_mut().zip(state.iter().flat_map(|word| word.to_le_bytes())) {
        *to = byte;
    }
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_the_specification() {
        let hex =
            |text: &str| md5(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(hex(""), "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(hex("message digest"), "f96b697d7cb7938d525a2f31aaf161d0");
        let long = "12345678901234567890123456789012345678901234567890123456789012345678901234567890";
        assert_eq!(hex(long), "57edf4a22be3c955ac49da2e2107b67a");
        assert_eq!(hex(&"a".repeat(56)), "3b0c8ac703f828b04c6c197006d17218");
    }

    fn authenticates(lines: &str, user: &str, password: &str) -> bool {
        hashes(lines, user).any(|hash| is(hash, password.as_bytes()))
    }

    #[test]
    fn passwords_are_compared_with_their_hashes() {
        // `htpasswd -nbs`, `openssl passwd -apr1 -salt ...`
        let lines = "user:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\napache:$apr1$abcdefgh$FBwExRW4dCc8aL.OvjpIE1\nlong:$apr1$r31$ozrsdhMnU256piGb.GWlZ1\n\
                     plain:plain\nshort:{SHA}\ncrypt:$1$a$b\n";
        assert!(authenticates(lines, "user", "password"));
        assert!(!authenticates(lines, "user", "Password"));
        assert!(authenticates(lines, "apache", "password") && !authenticates(lines, "apache", "passwore"));
        assert!(authenticates(lines, "long", "a much longer pässword than sixteen bytes"));
        for (user, password) in [("plain", "plain"), ("short", ""), ("crypt", ""), ("nobody", ""), ("", "")] {
            assert!(!authenticates(lines, user, password), "{user}");
        }
    }

    #[test]
    fn slow_hashes_are_those_that_other_programs_make() {
        // By crypt(3) of libxcrypt.
        let lines = "b:$2b$04$abcdefghijklmnopqrstuughE8Ev8uGFaUgY2cNEySvxngrb/Jzdm\n\
                     y:$2y$04$abcdefghijklmnopqrstuughE8Ev8uGFaUgY2cNEySvxngrb/Jzdm\n\
                     a:$2a$04$abcdefghijklmnopqrstuubzadhGtS2zEF.gu0yd0opP6cVzb.e0i\n\
                     5:$5$saltsalt$gOjOtoMpVhru2uyjeJSEc/JaLQWOXMNmlOnj6T4AtC.\n\
                     6:$6$saltsalt$qFmFH.bQmmtXzyBY0s9v7Oicd2z4XSIecDzlB5KiA2/jctKu9YterLp8wwnSq.qc.eoxqOmSuNp2xS0ktL3nh/\n\
                     r:$6$rounds=10000$saltsalt$ZqOTO2O04D/DgwZlm.rZTgWxvBaIf4LQsZKtXFEu9UHJ4CvgmdLAGxKUzJ0mPO98OevETdY6oK/Oac6j2Axxq/\n\
                     u:$5$rounds=1000$s$5GV5Pi58fLV.j8XfXEd3IpMt288LgIj8DqFIhS8QD69\n";
        for user in ["b", "y", "5", "6", "r"] {
            assert!(authenticates(lines, user, "password"), "{user}");
            assert!(!authenticates(lines, user, "passwore") && !authenticates(lines, user, ""), "{user}");
        }
        assert!(authenticates(lines, "u", "pässword") && !authenticates(lines, "u", "password"));
        // Of a longer password bcrypt looks at 72 bytes.
        assert!(authenticates(lines, "a", &"x".repeat(100)) && authenticates(lines, "a", &"x".repeat(72)));
        assert!(!authenticates(lines, "a", &"x".repeat(71)));
    }

    #[test]
    fn hashes_that_cannot_be_read_or_cost_too_much_let_nobody_in() {
        for hash in [
            "$2b$16$abcdefghijklmnopqrstuutdezBEXB.ShAK1sOvic74ub.wGUq5RO",
            "$2b$31$abcdefghijklmnopqrstuughE8Ev8uGFaUgY2cNEySvxngrb/Jzdm",
            "$2b$x4$abcdefghijklmnopqrstuughE8Ev8uGFaUgY2cNEySvxngrb/Jzdm",
            "$2b$04$short",
            "$2b$04",
            "$2x$04$abcdefghijklmnopqrstuughE8Ev8uGFaUgY2cNEySvxngrb/Jzdm",
            "$6$rounds=1000001$saltsalt$9sVQ3i9pOi.GnM/dYAVJO76JnQOqmivqf9vpR3d/WX9DDJua6K.PNuCqKGmkrXLaj/1p7Wdl1uzKh09Bo9Pc.0",
            "$6$rounds=many$saltsalt$x",
            "$6$saltsaltsaltsalts$x",
            "$5$salt",
            "$",
            "$$",
            "$apr1$",
        ] {
            assert!(is_slow(hash) && !is(hash, b"password"), "{hash}");
        }
        assert!(!is_slow("{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g="));
    }
}
