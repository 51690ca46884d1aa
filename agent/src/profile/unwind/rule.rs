//! One row of call frame information (DWARF 5, section 6.4) as a rule of 32 bits. Only what finds the caller's instruction, stack and
//! frame pointer counts; other registers are not restored, and rules that need one of them are unsupported.

use geophone_ebpf::unwind::{
    AT_FP, END, FP_AT_CFA, FP_AT_FP, FP_LOST, FP_SAME, FROM_FP, FROM_SP, PLT, Rule, SIGNAL, UNSUPPORTED, signal,
};
use gimli::{
    CfaRule, EndianSlice, LittleEndian, Reader as _, Register, RegisterRule, UnwindExpression, UnwindSection,
    UnwindTableRow, X86_64,
};

/// What is parsed: bytes that are there.
pub type Bytes<'a> = EndianSlice<'a, LittleEndian>;

/// The return address is stored below the CFA (System V ABI, x86_64).
const RETURN: i64 = -8;

/// `DW_OP_breg6`, `DW_OP_breg7`, `DW_OP_breg16`: a register (`rbp`, `rsp`, `rip`) and an offset.
const BREG_RBP: u8 = 0x76;
const BREG_RSP: u8 = 0x77;
/// `DW_OP_deref`
const DEREF: u8 = 0x06;

/// Says how the caller of a place is found, by the row that holds there.
pub fn rule<'a, S>(row: &UnwindTableRow<usize>, section: &S) -> Rule
where
    S: UnwindSection<Bytes<'a>>,
{
    supported(row, section).unwrap_or(Rule::plain(UNSUPPORTED))
}

fn supported<'a, S>(row: &UnwindTableRow<usize>, section: &S) -> Option<Rule>
where
    S: UnwindSection<Bytes<'a>>,
{
    let returns = row.register(X86_64::RA)?;
    if returns == RegisterRule::Undefined {
        return Some(Rule::plain(END));
    }
    let pointer = |expression: &UnwindExpression<usize>| {
        let bytes = expression.get(section).ok()?.0;
        base_and_offset(bytes).filter(|(_, _, rest)| rest.is_empty()).map(|(base, offset, _)| (base, offset))
    };
    if let RegisterRule::Expression(expression) = &returns {
        let saved = |rule: Option<RegisterRule<usize>>| match rule {
            Some(RegisterRule::Expression(expression)) => pointer(&expression),
            _ => None,
        };
        let stack = |offset: u64| Some((Base::Sp, i64::try_from(offset).ok()?));
        let is_signal = pointer(expression) == stack(signal::IP)
            && saved(row.register(X86_64::RBP)) == stack(signal::FP)
            && matches!(row.cfa(), CfaRule::Expression(cfa) if stored(cfa, section) == stack(signal::SP));
        return is_signal.then_some(Rule::plain(SIGNAL));
    }
    if returns != RegisterRule::Offset(RETURN) {
        return None;
    }
    let (fp, fp_offset) = match row.register(X86_64::RBP) {
        None | Some(RegisterRule::SameValue) => (FP_SAME, 0),
        Some(RegisterRule::Offset(offset)) => (FP_AT_CFA, offset),
        Some(RegisterRule::Expression(expression)) => match pointer(&expression)? {
            (Base::Fp, offset) => (FP_AT_FP, offset),
            (Base::Sp, _) => return None,
        },
        Some(RegisterRule::Undefined) => (FP_LOST, 0),
        Some(_) => return None,
    };
    match row.cfa() {
        CfaRule::RegisterAndOffset { register: X86_64::RSP, offset } => Rule::new(FROM_SP, *offset, fp, fp_offset),
        CfaRule::RegisterAndOffset { register: X86_64::RBP, offset } => Rule::new(FROM_FP, *offset, fp, fp_offset),
        CfaRule::RegisterAndOffset { register: Register(_), .. } => None,
        CfaRule::Expression(expression) => match stored(expression, section) {
            Some((Base::Fp, offset)) => Rule::new(AT_FP, offset, fp, fp_offset),
            Some((Base::Sp, _)) => None,
            None => Rule::new(PLT, i64::from(plt(expression.get(section).ok()?.0)?) * 8, fp, fp_offset),
        },
    }
}

/// A register that is restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Base {
    Sp,
    Fp,
}

/// `DW_OP_bregN OFFSET`, and what comes behind it.
fn base_and_offset(mut bytes: Bytes<'_>) -> Option<(Base, i64, Bytes<'_>)> {
    let base = match bytes.read_u8().ok()? {
        BREG_RSP => Base::Sp,
        BREG_RBP => Base::Fp,
        _ => return None,
    };
    let offset = bytes.read_sleb128().ok()?;
    Some((base, offset, bytes))
}

/// `DW_OP_bregN OFFSET, DW_OP_deref`
fn stored<'a>(expression: &UnwindExpression<usize>, section: &impl UnwindSection<Bytes<'a>>) -> Option<(Base, i64)> {
    let (base, offset, rest) = base_and_offset(expression.get(section).ok()?.0)?;
    (rest.slice() == [DEREF]).then_some((base, offset))
}

/// What linkers write for procedure linkage tables, whose entries push one word in the middle: `rsp + 8 + ((rip & 15) >= N) * 8`.
/// Returns N.
fn plt(bytes: Bytes<'_>) -> Option<u8> {
    match bytes.slice() {
        // breg7 (rsp) 8, breg16 (rip) 0, lit15, and, litN, ge, lit3, shl, plus
        [BREG_RSP, 8, 0x80, 0, 0x3f, 0x1a, literal @ 0x30..=0x3f, 0x2a, 0x33, 0x24, 0x22] => Some(literal - 0x30),
        _ => None,
    }
}
