//! Which names count at all: source and configuration files, but not what tools make and not what editors leave for a moment.
//!
//! The two lists decide by name alone, before a file is looked at; `.gitignore` and `--ignore` come after them. What is named explicitly
//! never comes here.

/// Directories never entered below a root. `dist` and `build` are missing on purpose: the TypeScript servers of this world are run from there,
/// and where they are only output `.gitignore` names them.
#[rustfmt::skip]
const DIRECTORIES: &[&str] = &[
    ".cache", ".direnv", ".eggs", ".git", ".gradle", ".hg", ".idea", ".jj", ".mypy_cache", ".next", ".nox", ".nuxt", ".pytest_cache",
    ".ruff_cache", ".svelte-kit", ".svn", ".terraform", ".tox", ".venv", ".vscode", "__pycache__", "bower_components", "node_modules",
    "target", "venv",
];

/// Extensions of source and configuration files. Prose (`md`, `txt`), data (`csv`, `db`) and logs are missing on purpose: `--ext` adds them.
#[rustfmt::skip]
const EXTENSIONS: &[&str] = &[
    "asm", "astro", "awk", "bash", "bat", "c", "cc", "cfg", "cjs", "cl", "clj", "cljc", "cljs", "cmake", "cmd", "coffee", "conf", "cpp",
    "cr", "cs", "cshtml", "csproj", "css", "cts", "cxx", "d", "dart", "edn", "ejs", "elm", "env", "erb", "erl", "ex", "exs", "fish",
    "fs", "fsproj", "fsx", "gleam", "go", "gql", "gradle", "graphql", "groovy", "h", "handlebars", "hbs", "hcl", "hh", "hpp", "hrl",
    "hs", "htm", "html", "ini", "j2", "java", "jinja", "jinja2", "jl", "js", "json", "json5", "jsonc", "jsx", "kt", "kts", "less",
    "liquid", "lua", "m", "mjs", "ml", "mli", "mod", "mts", "mustache", "nim", "nix", "php", "pl", "pm", "prisma", "prompt",
    "properties", "proto", "ps1", "py", "pyi", "pyx", "r", "rb", "rkt", "rs", "sass", "sbt", "scala", "scss", "sh", "sql", "svelte",
    "swift", "tf", "tmpl", "toml", "ts", "tsx", "vue", "xml", "xsd", "yaml", "yml", "zig", "zsh",
];

/// Files that count by their whole name.
#[rustfmt::skip]
const FILES: &[&str] = &[
    ".babelrc", ".env", ".npmrc", ".nvmrc", ".python-version", ".tool-versions", "Containerfile", "Dockerfile", "Gemfile",
    "GNUmakefile", "Justfile", "Makefile", "Procfile", "Rakefile", "justfile",
];

/// The longest extension that can count; a longer one is compared with nothing.
const LONGEST: usize = 32;

/// The names that count: the default ones, or those with the extensions of `--ext`.
pub(super) struct Names {
    /// Lower case, sorted.
    extensions: Vec<String>,
    by_name: bool,
    all: bool,
}

impl Names {
    /// `extensions` as the user wrote them (`py`, `.py` and `*.py` are the same, `*` is every file); `None` for the default lists.
    pub(super) fn new(extensions: Option<&[String]>) -> Names {
        let mut list: Vec<String> = match extensions {
            None => EXTENSIONS.iter().map(ToString::to_string).collect(),
            Some(list) => list.iter().map(|e| e.trim().trim_start_matches("*.").trim_start_matches('.').to_ascii_lowercase()).collect(),
        };
        list.sort();
        Names { all: list.iter().any(|e| e == "*"), extensions: list, by_name: extensions.is_none() }
    }

    /// Whether a file of this name counts.
    pub(super) fn file(&self, name: &[u8]) -> bool {
        if is_transient(name) {
            return false;
        }
        self.all || self.has_extension(name) || self.by_name && is_known_file(name)
    }

    /// Whether a directory of this name is entered.
    pub(super) fn directory(name: &[u8]) -> bool {
        !DIRECTORIES.iter().any(|d| d.as_bytes() == name) && !name.ends_with(b".egg-info")
    }

    fn has_extension(&self, name: &[u8]) -> bool {
        let Some(dot) = name.iter().rposition(|&b| b == b'.').filter(|&dot| dot > 0) else { return false };
        let extension = &name[dot + 1..];
        let mut lower = [0; LONGEST];
        let Some(lower) = lower.get_mut(..extension.len()) else { return false };
        lower.copy_from_slice(extension);
        lower.make_ascii_lowercase();
        self.extensions.binary_search_by(|e| e.as_bytes().cmp(lower)).is_ok()
    }
}

/// `.env.local` and its like count with `.env`.
fn is_known_file(name: &[u8]) -> bool {
    FILES.iter().any(|f| f.as_bytes() == name) || name.starts_with(b".env.")
}

/// What editors and atomic writers put beside a file for a moment: Vim, Emacs, Kate, JetBrains, GNOME, and the `.tmp` of everybody else.
fn is_transient(name: &[u8]) -> bool {
    const ENDS: &[&[u8]] = &[
        b"~",
        b".swp",
        b".swo",
        b".swx",
        b".tmp",
        b".temp",
        b".bak",
        b".part",
        b".crswap",
        b".kate-swp",
        b".orig",
        b"___jb_tmp___",
        b"___jb_old___",
    ];
    const STARTS: &[&[u8]] = &[b".#", b".goutputstream-", b".nfs", b".fuse_hidden"];
    name == b"4913"
        || name.starts_with(b"#") && name.ends_with(b"#")
        || ENDS.iter().any(|end| name.ends_with(end))
        || STARTS.iter().any(|start| name.starts_with(start))
}
