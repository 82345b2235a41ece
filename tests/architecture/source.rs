//! Which paths a file names: `use` trees and paths, resolved against the module that they stand in.

use proc_macro2::{Ident, TokenStream, TokenTree};
use std::path::Path;
use std::{fs, io};
use syn::parse::discouraged::Speculative;
use syn::parse::{ParseStream, Parser};
use syn::visit::{self, Visit};
use syn::{Attribute, ItemMod, ItemUse, UseName, UseRename, UseTree, Visibility};

/// One path that a file names: `["crate", "hsm", "Hsm"]` or `["std", "fs"]`.
#[derive(Clone, Debug)]
pub(crate) struct Reference {
    /// Line in the file, from 1.
    pub(crate) line: usize,
    /// Its segments; `*` for a glob or an alias of the crate's root.
    pub(crate) path: Vec<String>,
    /// Whether it stands in a `pub use`.
    pub(crate) public_use: bool,
}

/// One file below `src`.
pub(crate) struct Source {
    path: String,
    tokens: TokenStream,
    /// Without what only tests compile.
    references: Vec<Reference>,
    test_modules: Vec<String>,
    lines: usize,
}

/// Every `.rs` file below `src`.
pub(crate) fn read_all(src: &Path) -> io::Result<Vec<Source>> {
    let mut texts = Vec::new();
    collect(src, src, &mut texts)?;
    Ok(parse_all(&texts))
}

/// Of paths relative to `src` and texts; a file that only tests compile has no references.
pub(crate) fn parse_all(texts: &[(String, String)]) -> Vec<Source> {
    let mut sources: Vec<Source> = texts.iter().map(|(path, text)| Source::parse(path, text)).collect();
    let of_tests: Vec<String> = sources.iter().flat_map(|s| s.test_modules.clone()).collect();
    for source in &mut sources {
        if of_tests.iter().any(|module| Path::new(module_path(&source.path)).starts_with(module)) {
            source.references.clear();
        }
    }
    sources
}

/// Every `.rs` file below `directory`: its path from `root`, and its text.
pub(crate) fn collect(root: &Path, directory: &Path, into: &mut Vec<(String, String)>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(root, &path, into)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            into.push((name, fs::read_to_string(&path)?));
        }
    }
    into.sort();
    Ok(())
}

/// `audit/log` of `audit/log.rs`, `audit` of `audit/mod.rs`.
pub(crate) fn module_path(path: &str) -> &str {
    path.trim_end_matches(".rs").trim_end_matches("/mod")
}

impl Source {
    /// `path` is relative to `src`.
    #[expect(clippy::panic, reason = "text that is no Rust fails the test that reads it")]
    pub(crate) fn parse(path: &str, text: &str) -> Self {
        let parsed =
            syn::parse_str(text).and_then(|tokens: TokenStream| Ok((syn::parse2(tokens.clone())?, tokens)));
        let (file, tokens): (syn::File, _) =
            parsed.unwrap_or_else(|error| panic!("{path}:{}: {error}", error.span().start().line));
        let own = module_path(path).split('/').filter(|part| !matches!(*part, "lib" | "main"));
        let module = own.map(str::to_owned).collect();
        let mut finder = Finder { module, references: Vec::new(), test_modules: Vec::new() };
        if !for_tests(&file.attrs) {
            finder.visit_file(&file);
        }
        let Finder { references, test_modules, .. } = finder;
        Self { path: path.to_owned(), tokens, references, test_modules, lines: text.lines().count() }
    }

    /// Relative to `src`.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The first part of the path: `http`, `clock`, `main`.
    pub(crate) fn room(&self) -> &str {
        self.path.split('/').next().unwrap_or_default().trim_end_matches(".rs")
    }

    /// Lines of the whole file.
    pub(crate) fn lines(&self) -> usize {
        self.lines
    }

    /// Modules that are declared here under `cfg(test)` and lie in files of their own: `audit/tests`.
    pub(crate) fn test_modules(&self) -> &[String] {
        &self.test_modules
    }

    /// Where this identifier stands first, tests included.
    pub(crate) fn line_of_word(&self, word: &str) -> Option<usize> {
        identifier(&self.tokens, &|found| found == word).map(|found| found.span().start().line)
    }

    /// Every path that the compiled part names.
    pub(crate) fn references(&self) -> &[Reference] {
        &self.references
    }
}

/// The first identifier for which `is_it` holds, in groups too.
fn identifier(tokens: &TokenStream, is_it: &dyn Fn(&Ident) -> bool) -> Option<Ident> {
    tokens.clone().into_iter().find_map(|token| match token {
        TokenTree::Ident(word) => is_it(&word).then_some(word),
        TokenTree::Group(group) => identifier(&group.stream(), is_it),
        _ => None,
    })
}

/// Whether one of the attributes is a `cfg` that only tests fulfil: it names `test` and no `not`.
fn for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().filter(|a| a.path().is_ident("cfg")).filter_map(|a| a.meta.require_list().ok()).any(
        |cfg| {
            let names = |name: &str| identifier(&cfg.tokens, &|word| word == name).is_some();
            names("test") && !names("not")
        },
    )
}

struct Finder {
    /// The module around this place, from the crate's root.
    module: Vec<String>,
    references: Vec<Reference>,
    test_modules: Vec<String>,
}

impl Finder {
    /// The path from the crate's root, or from another crate's name.
    fn resolve(&self, segments: &[Ident]) -> Vec<String> {
        let below = |module: &[String]| [&["crate".to_owned()], module].concat();
        let parent = self.module.split_last().map_or(&[][..], |(_, parent)| parent);
        let mut path = Vec::new();
        for segment in segments {
            match (segment.to_string().as_str(), path.is_empty()) {
                ("crate" | "chancery", true) => path = below(&[]),
                ("self", true) => path = below(&self.module),
                ("super", true) => path = below(parent),
                ("self", false) => {}
                ("super", false) => drop(path.pop()),
                (name, _) => path.push(name.to_owned()),
            }
        }
        path
    }

    fn note(&mut self, segments: &[Ident], path: Vec<String>, public_use: bool) {
        if let (Some(last), true) = (segments.last(), path.len() > 1) {
            self.references.push(Reference { line: last.span().start().line, path, public_use });
        }
    }

    /// Notes each path of a `use` below the segments before it.
    fn use_tree(&mut self, tree: &UseTree, mut before: Vec<Ident>, public: bool) {
        match tree {
            UseTree::Path(path) => {
                before.push(path.ident.clone());
                self.use_tree(&path.tree, before, public);
            }
            UseTree::Group(group) => {
                group.items.iter().for_each(|item| self.use_tree(item, before.clone(), public));
            }
            UseTree::Glob(_) => {
                let mut path = self.resolve(&before);
                path.push("*".to_owned());
                self.note(&before, path, public);
            }
            UseTree::Name(UseName { ident, .. }) | UseTree::Rename(UseRename { ident, .. }) => {
                before.push(ident.clone());
                let mut path = self.resolve(&before);
                if matches!(tree, UseTree::Rename(_)) && path == ["crate"] {
                    path.push("*".to_owned());
                }
                self.note(&before, path, public);
            }
        }
    }

    /// The paths and `use`s in tokens that are no syntax tree: a macro's, an attribute's.
    fn tokens(&mut self, input: ParseStream) -> syn::Result<()> {
        while !input.is_empty() {
            let (a_use, a_path) = (input.fork(), input.fork());
            if let Ok(item) = a_use.parse() {
                self.visit_item_use(&item);
                input.advance_to(&a_use);
            } else if let Ok(path) = a_path.parse() {
                self.visit_expr_path(&path);
                input.advance_to(&a_path);
            } else if let TokenTree::Group(group) = input.parse()? {
                self.visit_token_stream(&group.stream());
            }
        }
        Ok(())
    }
}

/// Passes over what only tests compile.
macro_rules! without_tests {
    ($($visit:ident: $node:ident),*) => {
        $(fn $visit(&mut self, node: &'ast syn::$node) {
            if !for_tests(&node.attrs) {
                visit::$visit(self, node);
            }
        })*
    };
}

impl<'ast> Visit<'ast> for Finder {
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        self.module.push(item.ident.to_string());
        match (for_tests(&item.attrs), &item.content) {
            (false, _) => visit::visit_item_mod(self, item),
            (true, None) => self.test_modules.push(self.module.join("/")),
            (true, Some(_)) => {}
        }
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if !for_tests(&item.attrs) {
            self.use_tree(&item.tree, Vec::new(), !matches!(item.vis, Visibility::Inherited));
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<Ident> = path.segments.iter().map(|segment| segment.ident.clone()).collect();
        if segments.len() > 1 {
            let path = self.resolve(&segments);
            self.note(&segments, path, false);
        }
        visit::visit_path(self, path);
    }

    fn visit_token_stream(&mut self, tokens: &'ast TokenStream) {
        // It cannot fail: each step takes a token or ends.
        drop((|input: ParseStream| self.tokens(input)).parse2(tokens.clone()));
    }

    without_tests! {
        visit_item_const: ItemConst, visit_item_enum: ItemEnum, visit_item_fn: ItemFn, visit_item_impl: ItemImpl,
        visit_item_macro: ItemMacro, visit_item_static: ItemStatic, visit_item_struct: ItemStruct,
        visit_item_trait: ItemTrait, visit_item_type: ItemType, visit_impl_item_const: ImplItemConst,
        visit_impl_item_fn: ImplItemFn, visit_trait_item_fn: TraitItemFn, visit_local: Local, visit_stmt_macro: StmtMacro,
        visit_field: Field, visit_field_value: FieldValue, visit_variant: Variant, visit_arm: Arm
    }
}
