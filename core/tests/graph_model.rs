//! The feature graph against matrices, over every graph of four groups and random ones of up to 40.

use proptest::prelude::*;
use tapeline_core::graph::{Diamond, Graph, GraphError, GroupId, GroupSet};
use tapeline_core::limits::{GROUP_NEEDS_MAX, GROUPS_MAX};
use tapeline_core::testing::{CountingAlloc, Prng, for_seeds, without_allocation};

#[global_allocator]
static ALLOC: CountingAlloc = CountingAlloc;

fn load(edges: &[Vec<usize>]) -> Result<Graph, GraphError> {
    let names: Vec<String> = (0..edges.len()).map(|group| format!("g{group}")).collect();
    let needs: Vec<Vec<&str>> =
        edges.iter().map(|needs| needs.iter().map(|needed| names[*needed].as_str()).collect()).collect();
    let groups: Vec<(&str, &[&str])> =
        names.iter().zip(&needs).map(|(name, needs)| (name.as_str(), needs.as_slice())).collect();
    Graph::new(&groups)
}

/// Reachability by Warshall's algorithm; a group reaches itself only by a circle.
fn reach(edges: &[Vec<usize>]) -> Vec<Vec<bool>> {
    let n = edges.len();
    let mut reach = vec![vec![false; n]; n];
    for (group, needs) in edges.iter().enumerate() {
        needs.iter().for_each(|needed| reach[group][*needed] = true);
    }
    for by in 0..n {
        for from in 0..n {
            for to in 0..n {
                reach[from][to] |= reach[from][by] && reach[by][to];
            }
        }
    }
    reach
}

/// The smallest order by registration, by trying.
fn naive_order(edges: &[Vec<usize>]) -> Vec<usize> {
    let mut order: Vec<usize> = Vec::new();
    while order.len() < edges.len() {
        let free = |group: &usize| !order.contains(group) && edges[*group].iter().all(|needed| order.contains(needed));
        order.push((0..edges.len()).find(free).expect("there is no circle"));
    }
    order
}

fn naive_diamonds(edges: &[Vec<usize>], reach: &[Vec<bool>], order: &[usize]) -> Vec<Diamond> {
    let is_below = |top: usize, group: usize| top == group || reach[top][group];
    let mut diamonds = Vec::new();
    for (top, needs) in edges.iter().enumerate() {
        'top: for (at, left) in needs.iter().enumerate() {
            for right in &needs[at + 1..] {
                if let Some(bottom) = order.iter().find(|group| is_below(*left, **group) && is_below(*right, **group)) {
                    let [top, left, right, bottom] = [top, *left, *right, *bottom].map(|group| GroupId(group as u16));
                    diamonds.push(Diamond { top, sides: [left, right], bottom });
                    break 'top;
                }
            }
        }
    }
    diamonds
}

/// Whether it has a circle and whether it has a diamond.
fn compare(edges: &[Vec<usize>]) -> (bool, bool) {
    let n = edges.len();
    let reach = reach(edges);
    let circular = (0..n).any(|group| reach[group][group]);
    let graph = match load(edges) {
        Err(GraphError::Cycle(cycle)) => {
            assert!(circular, "a circle where there is none: {cycle} in {edges:?}");
            let groups: Vec<usize> = cycle.names().iter().map(|name| name[1..].parse().unwrap()).collect();
            assert!(groups.len() >= 2);
            for (at, group) in groups.iter().enumerate() {
                let next = groups[(at + 1) % groups.len()];
                assert!(edges[*group].contains(&next), "{cycle} is a way of {edges:?}");
                assert!(!groups[..at].contains(group), "each group once: {cycle}");
            }
            assert_eq!(groups.iter().min(), groups.first(), "begins with the first registered: {cycle}");
            let text = cycle.to_string();
            assert!(text.starts_with(&format!("g{} -> ", groups[0])) && text.ends_with(&format!(" -> g{}", groups[0])));
            return (true, false);
        }
        other => other.expect("there is no other fault"),
    };
    assert!(!circular, "no circle was found in {edges:?}");
    let order: Vec<usize> = graph.order().map(|group| usize::from(group.0)).collect();
    assert_eq!(order, naive_order(edges), "{edges:?}");
    for (group, below) in reach.iter().enumerate() {
        let id = GroupId(group as u16);
        let closure = without_allocation(|| graph.closure(GroupSet::EMPTY.with(id)));
        let expected: Vec<usize> = (0..n).filter(|needed| *needed == group || below[*needed]).collect();
        assert_eq!(closure.iter().map(|group| usize::from(group.0)).collect::<Vec<_>>(), expected);
        assert_eq!(closure.len(), expected.len());
        assert!(expected.iter().all(|needed| closure.contains(GroupId(*needed as u16))));
    }
    let diamonds: Vec<Diamond> = graph.diamonds().collect();
    assert_eq!(diamonds, naive_diamonds(edges, &reach, &order), "{edges:?}");
    (false, !diamonds.is_empty())
}

#[test]
fn every_graph_of_four_groups_is_judged_as_its_matrix_says() {
    let pairs: Vec<(usize, usize)> = (0..4).flat_map(|a| (0..4).map(move |b| (a, b))).filter(|(a, b)| a != b).collect();
    let (mut circles, mut diamonds) = (0, 0);
    for mask in 0..1u32 << pairs.len() {
        let mut edges = vec![Vec::new(); 4];
        for (bit, (from, to)) in pairs.iter().enumerate() {
            if mask >> bit & 1 == 1 {
                edges[*from].push(*to);
            }
        }
        let (circle, diamond) = compare(&edges);
        circles += u32::from(circle);
        diamonds += u32::from(diamond);
    }
    // Labelled acyclic digraphs of four nodes: 543 (OEIS A003024).
    assert_eq!(circles, (1 << pairs.len()) - 543);
    assert!(diamonds > 100, "{diamonds}");
}

#[test]
fn random_graphs_are_judged_as_their_matrices_say() {
    let (mut circles, mut diamonds, mut trees) = (0, 0, 0);
    for_seeds(0..3_000, |_, prng: &mut Prng| {
        let n = 1 + prng.index(40);
        let mut edges = vec![Vec::new(); n];
        // A hidden order, against which a few needs may go.
        let mut rank: Vec<usize> = (0..n).collect();
        for at in (1..n).rev() {
            rank.swap(at, prng.index(at + 1));
        }
        let against = prng.one_in(2);
        for _ in 0..prng.index(3 * n) {
            let (from, to) = (prng.index(n), prng.index(n));
            let allowed = rank[from] > rank[to] || against && prng.one_in(10);
            if from != to && allowed && !edges[from].contains(&to) {
                edges[from].push(to);
            }
        }
        match compare(&edges) {
            (true, _) => circles += 1,
            (false, true) => diamonds += 1,
            (false, false) => trees += 1,
        }
    });
    assert!(circles > 200 && diamonds > 200 && trees > 200, "{circles} {diamonds} {trees}");
}

#[test]
fn the_deepest_chain_and_the_longest_circle_are_no_recursion() {
    let chain: Vec<Vec<usize>> =
        (0..GROUPS_MAX).map(|group| if group + 1 < GROUPS_MAX { vec![group + 1] } else { vec![] }).collect();
    let graph = load(&chain).unwrap();
    assert_eq!(graph.order().next(), Some(GroupId(GROUPS_MAX as u16 - 1)));
    assert_eq!(graph.closure(GroupSet::EMPTY.with(GroupId(0))).len(), GROUPS_MAX);
    let mut circle = chain;
    circle[GROUPS_MAX - 1].push(0);
    let Err(GraphError::Cycle(cycle)) = load(&circle) else { panic!("it is a circle") };
    assert_eq!(cycle.names().len(), GROUPS_MAX);
}

#[test]
fn limits_are_reached_exactly_and_by_one_more() {
    assert!(load(&vec![vec![]; GROUPS_MAX]).is_ok());
    assert_eq!(load(&vec![vec![]; GROUPS_MAX + 1]).unwrap_err(), GraphError::TooManyGroups(GROUPS_MAX + 1));
    // Every group needs the last ones: as many dependencies as there may be, then one more.
    let each = GROUP_NEEDS_MAX / (GROUPS_MAX / 2);
    let mut edges: Vec<Vec<usize>> = vec![vec![]; GROUPS_MAX];
    for needs in edges.iter_mut().take(GROUPS_MAX / 2) {
        needs.extend(GROUPS_MAX - each..GROUPS_MAX);
    }
    assert!(load(&edges).is_ok());
    edges[GROUPS_MAX / 2].push(GROUPS_MAX - 1);
    assert_eq!(load(&edges).unwrap_err(), GraphError::TooManyNeeds(GROUP_NEEDS_MAX + 1));
}

/// What a mapper asks all day: the closures of sets of groups, and whether a group is in one. Ten million questions.
#[test]
fn ten_million_questions_are_answered_as_the_matrix_says() {
    let mut asked = 0_u64;
    for_seeds(5_000..5_010, |_, prng| {
        let n = 2 + prng.index(60);
        let mut edges = vec![Vec::new(); n];
        for _ in 0..2 * n {
            let (low, high) = (prng.index(n), prng.index(n));
            if low < high && !edges[high].contains(&low) {
                edges[high].push(low);
            }
        }
        let (reach, graph) = (reach(&edges), load(&edges).expect("needs go down only"));
        for _ in 0..20_000 {
            let mut wanted = GroupSet::EMPTY;
            let mut expected = 0_u64;
            for _ in 0..1 + prng.index(4) {
                let group = prng.index(n);
                wanted = wanted.with(GroupId(group as u16));
                let below =
                    (0..n).filter(|needed| reach[group][*needed]).fold(1 << group, |set, needed| set | 1 << needed);
                expected |= below;
            }
            let closure = graph.closure(wanted);
            assert_eq!(closure.len() as u32, expected.count_ones());
            for group in 0..50 {
                let is_in = group < 64 && expected >> group & 1 == 1;
                assert_eq!(closure.contains(GroupId(group)), is_in, "group {group} of {edges:?}");
                asked += 1;
            }
        }
    });
    assert!(asked >= 10_000_000, "{asked}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Shrinks to the fewest needs that are judged otherwise.
    #[test]
    fn any_graph_is_judged_as_its_matrix_says(n in 1usize..12, needs in prop::collection::vec((0usize..12, 0usize..12), 0..30)) {
        let mut edges = vec![Vec::new(); n];
        for (from, to) in needs.into_iter().map(|(from, to)| (from % n, to % n)) {
            if from != to && !edges[from].contains(&to) {
                edges[from].push(to);
            }
        }
        compare(&edges);
    }
}
