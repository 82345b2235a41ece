use super::*;
use proptest::prelude::*;
use std::convert::Infallible;
use tlog_tiles::tlog;

/// RFC 6962 §2.1, word for word.
fn naive(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => empty_root(),
        [leaf] => *leaf,
        _ => {
            let mut k = 1;
            while 2 * k < leaves.len() {
                k *= 2;
            }
            node_hash(&naive(&leaves[..k]), &naive(&leaves[k..]))
        }
    }
}

fn leaves(count: usize) -> Vec<Hash> {
    (0..count).map(|i| leaf_hash(format!("record {i}").as_bytes())).collect()
}

fn edge(leaves: &[Hash]) -> Edge {
    let mut edge = Edge::new();
    for &leaf in leaves {
        edge.push(leaf);
    }
    edge
}

fn reader(leaves: &[Hash]) -> impl FnMut(u32, u64) -> Result<Hash, Infallible> + '_ {
    |height, n| {
        let width = 1_usize << height;
        let start = usize::try_from(n).unwrap() * width;
        Ok(naive(&leaves[start..start + width]))
    }
}

/// All hashes in the order of the checksum database, for the oracle.
struct Stored(Vec<tlog::Hash>);

impl tlog::HashReader for Stored {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog::Hash>, tlog::Error> {
        Ok(indexes.iter().map(|&i| self.0[usize::try_from(i).unwrap()]).collect())
    }
}

fn stored(leaves: &[Hash]) -> Stored {
    let mut out = Stored(Vec::new());
    for (i, leaf) in leaves.iter().enumerate() {
        let more = tlog::stored_hashes_for_record_hash(i as u64, tlog::Hash(*leaf), &out).unwrap();
        out.0.extend(more);
    }
    out
}

#[test]
fn every_tree_up_to_two_tiles_has_the_root_of_the_specification() {
    let leaves = leaves(600);
    let (mut edge, mut peaks) = (Edge::new(), Peaks::new());
    assert_eq!((edge.root(), peaks.root()), (naive(&[]), naive(&[])));
    for size in 1..=600 {
        edge.push(leaves[size - 1]);
        peaks.push(leaves[size - 1]);
        assert_eq!(edge.root(), naive(&leaves[..size]), "size {size}");
        assert_eq!(peaks.root(), edge.root(), "size {size}");
    }
}

#[test]
fn seventy_thousand_records_have_the_root_that_tlog_tiles_finds() {
    let leaves = leaves(70_000);
    let stored = stored(&leaves);
    for size in [255, 256, 257, 65_535, 65_536, 65_537, 70_000] {
        let ours = edge(&leaves[..size]).root();
        assert_eq!(ours, tlog::tree_hash(size as u64, &stored).unwrap().0, "size {size}");
    }
}

#[test]
fn leaf_and_node_hashes_are_those_of_tlog_tiles() {
    assert_eq!(leaf_hash(b"x"), tlog::record_hash(b"x").0);
    let (a, b) = (leaf_hash(b"a"), leaf_hash(b"b"));
    assert_eq!(node_hash(&a, &b), tlog::node_hash(tlog::Hash(a), tlog::Hash(b)).0);
}

#[test]
fn tiles_are_shown_when_they_are_complete_and_only_then() {
    let leaves = leaves(65_536);
    let mut shown = Vec::new();
    let mut edge = Edge::new();
    for (i, &leaf) in leaves.iter().enumerate() {
        edge.push_and_take(leaf, |level, tile| {
            assert_eq!(tile.len(), TILE_WIDTH);
            shown.push((i + 1, level));
        });
    }
    assert_eq!(shown.iter().filter(|(_, level)| *level == 0).count(), 256);
    assert_eq!(shown.last(), Some(&(65_536, 1)));
    assert!(shown.iter().all(|(size, _)| size % 256 == 0));
    assert_eq!((edge.tile(0).len(), edge.tile(1).len(), edge.tile(2).len()), (0, 0, 1));
}

#[test]
fn an_edge_cut_or_lengthened_by_one_byte_is_none() {
    let bytes = edge(&leaves(777)).encode();
    assert!(Edge::decode(&bytes[..bytes.len() - 1]).is_none());
    assert!(Edge::decode(&[bytes.as_slice(), &[0]].concat()).is_none());
    assert!(Edge::decode(&u64::MAX.to_be_bytes()).is_none());
    assert!(Edge::decode(&[]).is_none());
}

#[test]
fn a_proof_beyond_the_tree_is_refused() {
    let leaves = leaves(5);
    assert_eq!(inclusion_proof(5, 5, reader(&leaves)), Err(ProofError::Beyond { asked: 5, size: 5 }));
    assert!(consistency_proof(6, 5, reader(&leaves)).is_err());
    assert!(!verify_inclusion(5, 5, &leaves[0], &[], &naive(&leaves)));
    assert!(!verify_consistency(6, &naive(&leaves), 5, &naive(&leaves), &[]));
}

#[test]
fn growth_from_nothing_needs_no_proof_but_the_empty_root() {
    let root = naive(&leaves(5));
    assert!(verify_consistency(0, &empty_root(), 5, &root, &[]));
    assert!(!verify_consistency(0, &root, 5, &root, &[]));
    assert!(!verify_consistency(0, &empty_root(), 5, &root, &[root]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_edge_survives_its_bytes(size in 0_usize..2000, more in 0_usize..300) {
        let leaves = leaves(size + more);
        let mut back = Edge::decode(&edge(&leaves[..size]).encode()).unwrap();
        prop_assert_eq!(&back, &edge(&leaves[..size]));
        leaves[size..].iter().for_each(|&leaf| back.push(leaf));
        prop_assert_eq!(back, edge(&leaves));
    }

    #[test]
    fn arbitrary_bytes_are_an_edge_only_if_they_encode_to_themselves(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        if let Some(edge) = Edge::decode(&bytes) {
            prop_assert_eq!(edge.encode(), bytes);
        }
    }

    #[test]
    fn inclusion_proofs_are_those_of_tlog_tiles_and_hold_for_their_record_alone(
        size in 1_usize..700, pick in any::<prop::sample::Index>(), flip in any::<prop::sample::Index>(),
    ) {
        let leaves = leaves(size);
        let index = pick.index(size);
        let (i, n, root) = (index as u64, size as u64, naive(&leaves));
        let mut proof = inclusion_proof(i, n, reader(&leaves)).unwrap();
        let oracle = tlog::prove_record(n, i, &stored(&leaves)).unwrap();
        prop_assert_eq!(&proof, &oracle.iter().map(|h| h.0).collect::<Vec<_>>());
        prop_assert!(verify_inclusion(i, n, &leaves[index], &proof, &root));
        prop_assert!(!verify_inclusion(i, n, &leaf_hash(b"other"), &proof, &root));
        // Path lengths differ between neighbours at times; a proof for another place must never hold.
        let other = flip.index(size);
        prop_assert_eq!(verify_inclusion(other as u64, n, &leaves[index], &proof, &root), other == index);
        let longer = [proof.as_slice(), &[root]].concat();
        prop_assert!(!verify_inclusion(i, n, &leaves[index], &longer, &root));
        if !proof.is_empty() {
            prop_assert!(!verify_inclusion(i, n, &leaves[index], &proof[1..], &root));
            let at = flip.index(proof.len());
            proof[at][0] ^= 1;
            prop_assert!(!verify_inclusion(i, n, &leaves[index], &proof, &root));
        }
    }

    #[test]
    fn consistency_proofs_are_those_of_tlog_tiles_and_hold_for_their_trees_alone(
        size in 1_usize..700, pick in any::<prop::sample::Index>(), flip in any::<prop::sample::Index>(),
    ) {
        let leaves = leaves(size);
        let old = 1 + pick.index(size);
        let (o, n) = (old as u64, size as u64);
        let (old_root, root) = (naive(&leaves[..old]), naive(&leaves));
        let mut proof = consistency_proof(o, n, reader(&leaves)).unwrap();
        let oracle = tlog::prove_tree(n, o, &stored(&leaves)).unwrap();
        prop_assert_eq!(&proof, &oracle.iter().map(|h| h.0).collect::<Vec<_>>());
        prop_assert!(verify_consistency(o, &old_root, n, &root, &proof));
        prop_assert!(!verify_consistency(o, &leaf_hash(b"other"), n, &root, &proof));
        prop_assert!(!verify_consistency(o, &old_root, n, &leaf_hash(b"other"), &proof));
        let longer = [proof.as_slice(), &[root]].concat();
        prop_assert!(!verify_consistency(o, &old_root, n, &root, &longer));
        if !proof.is_empty() {
            prop_assert!(!verify_consistency(o, &old_root, n, &root, &proof[1..]));
            let at = flip.index(proof.len());
            proof[at][0] ^= 1;
            prop_assert!(!verify_consistency(o, &old_root, n, &root, &proof));
        }
    }
}
