//! Session ids that outlive processes: random, and signed with a key of the user's, so that after a restart our own are known again.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use hmac_sha256::HMAC;

/// Random bytes of an id, and bytes of its signature.
const RANDOM: usize = 16;
const SIGNATURE: usize = 8;

/// What the secrets of this user's servers are derived from.
#[derive(Clone)]
pub(crate) struct Key([u8; 32]);

impl Key {
    /// The key of this process, which it shares with the other processes of its user.
    pub fn shared() -> &'static Key {
        static SHARED: OnceLock<Key> = OnceLock::new();
        SHARED.get_or_init(Key::of_user)
    }

    /// The key in `MCP_STATE_KEY`, else the one in the user's state directory, which is made if need be, else one for this process only.
    fn of_user() -> Key {
        if let Some(key) = std::env::var_os("MCP_STATE_KEY").filter(|key| !key.is_empty()) {
            return Key(hmac_sha256::Hash::hash(key.as_encoded_bytes()));
        }
        let Some(path) = state_directory().map(|directory| directory.join("key")) else {
            log::warn!("neither XDG_STATE_HOME nor HOME is set: session ids end with this process");
            return Key::random();
        };
        Key::in_file(&path).unwrap_or_else(|error| {
            log::warn!("no key in {}: {error}: session ids end with this process (MCP_STATE_KEY can hold one)", path.display());
            Key::random()
        })
    }

    /// A key nobody else has.
    pub fn random() -> Key {
        let mut key = [0; 32];
        fill(&mut key);
        Key(key)
    }

    fn in_file(path: &Path) -> io::Result<Key> {
        if let Some(key) = read(path)? {
            return Ok(key);
        }
        let directory = path.parent().unwrap_or(path);
        fs::create_dir_all(directory)?;
        // Written beside and linked into place: of two processes that start together, both end up with the key of one.
        let Key(key) = Key::random();
        let mut suffix = [0; 8];
        fill(&mut suffix);
        let draft = directory.join(format!("key.{}", hex(&suffix)));
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&draft)?.write_all(&key)?;
        let linked = fs::hard_link(&draft, path);
        fs::remove_file(&draft)?;
        match linked {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => read(path)?.ok_or_else(|| io::Error::other("the key is gone again")),
        }
    }

    /// A signature of `text` in the hand of this key, for `purpose` and nothing else.
    pub fn sign(&self, purpose: &str, text: &[u8]) -> [u8; 32] {
        let mut mac = HMAC::new(self.0);
        mac.update(purpose.as_bytes());
        mac.update([0]);
        mac.update(text);
        mac.finalize()
    }

    /// A new session id: 48 hexadecimal digits, the last 16 of which are a signature.
    pub fn new_session_id(&self) -> String {
        let mut random = [0; RANDOM];
        fill(&mut random);
        self.session_id(&random)
    }

    /// Whether `id` is one that a process with this key gave out.
    pub fn is_ours(&self, id: &str) -> bool {
        let Some(random) = id.get(..2 * RANDOM).and_then(unhex) else { return false };
        equal(self.session_id(&random).as_bytes(), id.as_bytes())
    }

    fn session_id(&self, random: &[u8]) -> String {
        let mut id = hex(random);
        id.push_str(&hex(&self.sign("session", random)[..SIGNATURE]));
        id
    }
}

/// Whether a session id has the form that an id can have; ours have 48 hexadecimal digits, other servers' may be UUIDs.
pub(crate) fn is_well_formed(id: &str) -> bool {
    (16..=128).contains(&id.len()) && id.bytes().fold(true, |good, byte| good & (byte.is_ascii_hexdigit() | (byte == b'-')))
}

/// Compares without telling by the time it takes how much was equal: every byte is looked at, and what is found goes where the compiler cannot see that only
/// its being zero counts, so that it has no reason to stop early.
pub(crate) fn equal(one: &[u8], other: &[u8]) -> bool {
    let difference = one.iter().zip(other).fold(0, |difference, (a, b)| difference | (a ^ b));
    one.len() == other.len() && std::hint::black_box(difference) == 0
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = digits.chars().map(|digit| digit.to_digit(16).map(|digit| digit as u8)).collect();
    Some(digits?.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect())
}

/// Fills `bytes` with randomness of the operating system's. Where that has none, nothing secret can be made, and going on would be worse than ending.
fn fill(bytes: &mut [u8]) {
    if let Err(error) = getrandom::fill(bytes) {
        log::error!("the operating system gives no randomness: {error}");
        std::process::abort();
    }
}

fn read(path: &Path) -> io::Result<Option<Key>> {
    let mut key = [0; 32];
    match fs::File::open(path) {
        Ok(mut file) => file.read_exact(&mut key).map(|()| Some(Key(key))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn state_directory() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || set("HOME").or_else(|| set("LOCALAPPDATA")).map(|home| home.join(".local/state"));
    set("XDG_STATE_HOME").filter(|path| path.is_absolute()).or_else(home).map(|state| state.join("mcp-http-transport"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_known_by_its_key_and_by_no_other() {
        let (key, other) = (Key::random(), Key::random());
        let id = key.new_session_id();
        assert_eq!(id.len(), 48);
        assert!(is_well_formed(&id) && key.is_ours(&id) && !other.is_ours(&id));
        assert_ne!(id, key.new_session_id());
        let mut forged = id.clone();
        forged.replace_range(..1, if id.starts_with('0') { "1" } else { "0" });
        assert!(!key.is_ours(&forged) && !key.is_ours(&id[..47]) && !key.is_ours("") && !key.is_ours(&id.to_uppercase().replace('0', "é")));
    }

    #[test]
    fn processes_share_the_key_in_the_file() {
        let directory = std::env::temp_dir().join(format!("mcp-key-{}-{}", std::process::id(), hex(&Key::random().0[..4])));
        let path = directory.join("state/key");
        let keys: Vec<Key> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| Key::in_file(&path).unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| key.0 == keys[0].0));
        #[cfg(unix)]
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions()) & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        fs::remove_dir_all(&directory).unwrap();
    }
}
