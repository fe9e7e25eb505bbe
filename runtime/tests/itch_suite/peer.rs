//! Another parser of BinaryFILE, `itchy`, reads the same values from the same bytes. It has no `h` and no `O`.

use itchy::{Body, MessageStream};
use tapeline_core::testing::itch::{Session, all_letters, frame, random_message};
use tapeline_core::testing::{Prng, for_seeds};
use tapeline_core::wire::itch::Message;

/// Types that `itchy` has no case for.
const NOT_ITS: &[u8] = b"hO";

fn same(ours: Message<'_>, theirs: &itchy::Message) {
    let head = (theirs.tag, theirs.stock_locate, theirs.timestamp);
    assert_eq!((ours.letter(), ours.stock_locate(), ours.timestamp()), head);
    let side = |side: &itchy::Side| if *side == itchy::Side::Buy { b'B' } else { b'S' };
    let yes = |yes: bool| if yes { b'Y' } else { b'N' };
    macro_rules! all {
        ($($ours:expr => $theirs:expr,)*) => {{ $(assert_eq!($ours, $theirs, "{}", stringify!($ours));)* }};
    }
    match (ours, &theirs.body) {
        (Message::AddOrder(o), Body::AddOrder(t)) => all!(
            o.order_reference_number() => t.reference, o.buy_sell_indicator() => side(&t.side), o.shares() => t.shares,
            o.stock() => t.stock.as_bytes(), o.price().0 => t.price.raw(), None => t.mpid,
        ),
        (Message::AddOrderMpid(o), Body::AddOrder(t)) => all!(
            o.order_reference_number() => t.reference, o.buy_sell_indicator() => side(&t.side), o.shares() => t.shares,
            o.stock() => t.stock.as_bytes(), o.price().0 => t.price.raw(),
            &o.attribution()[..] => t.mpid.as_ref().unwrap().as_bytes(),
        ),
        (Message::MwcbStatus(o), Body::Breach(t)) => all!(o.breached_level() => b'1' + *t as u8,),
        (Message::BrokenTrade(o), Body::BrokenTrade { match_number }) => all!(o.match_number() => *match_number,),
        (Message::CrossTrade(o), Body::CrossTrade(t)) => all!(
            o.shares() => t.shares, o.stock() => t.stock.as_bytes(), o.cross_price().0 => t.cross_price.raw(),
            o.match_number() => t.match_number, o.cross_type() => b"OCHIA"[t.cross_type as usize],
        ),
        (Message::OrderDelete(o), Body::DeleteOrder { reference }) => all!(o.order_reference_number() => *reference,),
        (Message::Noii(o), Body::Imbalance(t)) => all!(
            o.paired_shares() => t.paired_shares, o.imbalance_shares() => t.imbalance_shares,
            o.imbalance_direction() => b"BSNO"[t.imbalance_direction as usize], o.stock() => t.stock.as_bytes(),
            o.far_price().0 => t.far_price.raw(), o.near_price().0 => t.near_price.raw(),
            o.current_reference_price().0 => t.current_ref_price.raw(), o.cross_type() => b"OCHIA"[t.cross_type as usize],
            char::from(o.price_variation_indicator()) => t.price_variation_indicator,
        ),
        (Message::IpoQuotingPeriodUpdate(o), Body::IpoQuotingPeriod(t)) => all!(
            o.stock() => t.stock.as_bytes(), o.ipo_quotation_release_time() => t.release_time,
            o.ipo_quotation_release_qualifier() => b"AC"[t.release_qualifier as usize], o.ipo_price().0 => t.price.raw(),
        ),
        (
            Message::LuldAuctionCollar(o),
            Body::LULDAuctionCollar { stock, ref_price, upper_price, lower_price, extension },
        ) => all!(
            o.stock() => stock.as_bytes(), o.auction_collar_reference_price().0 => ref_price.raw(),
            o.upper_auction_collar_price().0 => upper_price.raw(), o.lower_auction_collar_price().0 => lower_price.raw(),
            o.auction_collar_extension() => *extension,
        ),
        (Message::MwcbDeclineLevel(o), Body::MwcbDeclineLevel { level1, level2, level3 }) => all!(
            o.level_1().0 => level1.raw(), o.level_2().0 => level2.raw(), o.level_3().0 => level3.raw(),
        ),
        (Message::Trade(o), Body::NonCrossTrade(t)) => all!(
            o.order_reference_number() => t.reference, o.buy_sell_indicator() => side(&t.side), o.shares() => t.shares,
            o.stock() => t.stock.as_bytes(), o.price().0 => t.price.raw(), o.match_number() => t.match_number,
        ),
        (Message::OrderCancel(o), Body::OrderCancelled { reference, cancelled }) => all!(
            o.order_reference_number() => *reference, o.cancelled_shares() => *cancelled,
        ),
        (Message::OrderExecuted(o), Body::OrderExecuted { reference, executed, match_number }) => all!(
            o.order_reference_number() => *reference, o.executed_shares() => *executed, o.match_number() => *match_number,
        ),
        (
            Message::OrderExecutedWithPrice(o),
            Body::OrderExecutedWithPrice { reference, executed, match_number, printable, price },
        ) => all!(
            o.order_reference_number() => *reference, o.executed_shares() => *executed, o.match_number() => *match_number,
            o.printable() => yes(*printable), o.execution_price().0 => price.raw(),
        ),
        (Message::MarketParticipantPosition(o), Body::ParticipantPosition(t)) => all!(
            &o.mpid()[..] => t.mpid.as_bytes(), o.stock() => t.stock.as_bytes(), o.primary_market_maker() => yes(t.primary_market_maker),
            o.market_maker_mode() => b"NPSRL"[t.market_maker_mode as usize],
            o.market_participant_state() => b"AEWSD"[t.market_participant_state as usize],
        ),
        (Message::RegShoRestriction(o), Body::RegShoRestriction { stock, action }) => all!(
            o.stock() => stock.as_bytes(), o.reg_sho_action() => b'0' + *action as u8,
        ),
        (Message::OrderReplace(o), Body::ReplaceOrder(t)) => all!(
            o.original_order_reference_number() => t.old_reference, o.new_order_reference_number() => t.new_reference,
            o.shares() => t.shares, o.price().0 => t.price.raw(),
        ),
        (Message::StockDirectory(o), Body::StockDirectory(t)) => all!(
            o.stock() => t.stock.as_bytes(), o.market_category() => b"QGSNAPZV "[t.market_category as usize],
            o.financial_status_indicator() => b"NDEQSGHJKC "[t.financial_status as usize], o.round_lot_size() => t.round_lot_size,
            o.round_lots_only() => yes(t.round_lots_only),
            o.issue_classification() => b"ABCFILNOPQRSTUVW"[t.issue_classification as usize],
            o.authenticity() == b'P' => t.authenticity, o.short_sale_threshold_indicator() => t.short_sale_threshold.map_or(b' ', yes),
            o.ipo_flag() => t.ipo_flag.map_or(b' ', yes), o.luld_reference_price_tier() => b"12 "[t.luld_ref_price_tier as usize],
            o.etp_flag() => t.etp_flag.map_or(b' ', yes), o.etp_leverage_factor() => t.etp_leverage_factor,
            o.inverse_indicator() => yes(t.inverse_indicator),
        ),
        (Message::SystemEvent(o), Body::SystemEvent { event }) => all!(o.event_code() => b"OSQMEC"[*event as usize],),
        (Message::StockTradingAction(o), Body::TradingAction { stock, trading_state, reason }) => all!(
            o.stock() => stock.as_bytes(), o.trading_state() => b"HPQT"[*trading_state as usize], o.reason() => reason.as_bytes(),
        ),
        (Message::Rpii(o), Body::RetailPriceImprovementIndicator(t)) => all!(
            o.stock() => t.stock.as_bytes(), o.interest_flag() => b"BSAN"[t.interest_flag as usize],
        ),
        (ours, theirs) => panic!("{ours:?} is not {theirs:?}"),
    }
}

/// Both read the stream to its end. Returns the messages of each type.
fn agree(bytes: &[u8]) -> [u64; 256] {
    let (mut rest, mut counts) = (bytes, [0; 256]);
    for theirs in MessageStream::from_reader(bytes) {
        let theirs = theirs.expect("itchy reads it");
        let length = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
        let ours = Message::parse(&rest[2..2 + length]).expect("ours reads it");
        same(ours, &theirs);
        counts[usize::from(theirs.tag)] += 1;
        rest = &rest[2 + length..];
    }
    assert!(rest.is_empty(), "both come to the end");
    counts
}

#[test]
fn random_messages_of_every_type_that_it_knows_read_the_same() {
    let letters: Vec<u8> = all_letters().into_iter().filter(|letter| !NOT_ITS.contains(letter)).collect();
    assert_eq!(letters.len(), 21);
    for_seeds(0..20, |_, prng| {
        let mut bytes = Vec::new();
        for _ in 0..3_000 {
            frame(&mut bytes, random_message(&letters, prng).bytes());
        }
        let counts = agree(&bytes);
        for letter in &letters {
            assert!(counts[usize::from(*letter)] > 50, "{}", letter.escape_ascii());
        }
    });
}

#[test]
fn a_session_reads_the_same() {
    let mut bytes = Vec::new();
    for message in Session::new(Prng::new(9).next_u64(), 50_000, 100) {
        if !NOT_ITS.contains(&message.bytes()[0]) {
            frame(&mut bytes, message.bytes());
        }
    }
    assert!(agree(&bytes).iter().sum::<u64>() > 49_000);
}
