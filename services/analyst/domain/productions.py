"""The parts of SQL that a statement may have: class names of sqlglot's tree, and names of functions that it has no class for."""

# Functions of one row or of a group that only compute. None reads files, the network, settings, secrets, other sessions or what makes bills; none
# makes a long text or list of a short one, save those that the guard bounds.
FUNCTIONS = frozenset(
    """
    Abs Acos AddMonths And AnyValue ApproxDistinct ApproxQuantile ArgMax ArgMin Array Ascii Asin Atan Atan2 Avg
    Booland Boolnot Boolor Case Cast Cbrt Ceil Chr Coalesce Concat ConcatWs Contains Corr Cos Cot Count CountIf CovarPop CovarSamp CumeDist
    CurrentDate CurrentDatetime CurrentTime CurrentTimestamp Localtime Localtimestamp
    Date DateAdd DateBin DateDiff DateFromParts DateFromUnixDate DateStrToDate DateSub DateToDateStr DateToDi DateTrunc
    Datetime DatetimeAdd DatetimeDiff DatetimeSub DatetimeTrunc Day DayOfMonth DayOfWeek DayOfWeekIso DayOfYear Dayname DecodeCase Degrees
    DenseRank DiToDate EndsWith EqualNull Exists Exp Extract First FirstValue Floor GenerateSeries Greatest Grouping GroupingId GroupConcat
    Hour If Initcap IsInf IsNan IsNullValue Kurtosis Lag Last LastDay LastValue Lead Least Left Length Levenshtein Ln Log LogicalAnd
    LogicalOr Lower Max Median Min Minute Mode Month Monthname MonthsBetween Nanvl NextDay NthValue Ntile Nullif Nvl2 Or Pad
    PercentRank PercentileCont PercentileDisc Pi Pow PreviousDay Quantile Quarter Radians Rank RegexpCount RegexpExtract RegexpFullMatch
    RegexpILike RegexpInstr RegexpLike RegexpReplace RegexpSubstr RegrAvgx RegrAvgy RegrCount RegrIntercept RegrR2 RegrSlope RegrSxx RegrSxy
    RegrSyy Replace Reverse Right Round RowNumber SafeDivide Second Sign Sin Skewness Split SplitPart Sqrt StartsWith Stddev StddevPop
    StddevSamp StrPosition StrToDate StrToTime StrToUnix Substring Sum Tan Time TimeAdd TimeDiff TimeFromParts TimeStrToDate TimeStrToTime
    TimeStrToUnix TimeSub TimeToStr TimeToTimeStr TimeToUnix TimeTrunc Timestamp TimestampAdd TimestampDiff TimestampFromParts TimestampSub
    TimestampTrunc ToBoolean ToChar ToDouble ToNumber Translate Trim Trunc Try TryCast TsOrDsAdd TsOrDsDiff TsOrDsToDate TsOrDsToDateStr
    TsOrDsToDatetime TsOrDsToTime TsOrDsToTimestamp UnixSeconds UnixMillis UnixToStr UnixToTime Unicode Upper Variance VariancePop
    Week WeekOfYear WidthBucket Xor Year YearOfWeek YearOfWeekIso
    """.split()  # noqa: SIM905  # a list of words reads better
)

# Functions without a class of their own, in either dialect.
NAMED_FUNCTIONS = frozenset(
    """
    date_part datepart div0 div0null dayname monthname even gcd lcm isodow isoyear decade century era epoch make_date make_timestamp
    mad product fsum favg kahan_sum sem entropy quantile_cont quantile_disc weekday yearweek
    ratio_to_report square zeroifnull nullifzero regr_sxx regr_sxy regr_syy to_days to_months to_years to_weeks to_hours to_minutes to_seconds
    """.split()  # noqa: SIM905  # a list of words reads better
)

# What is not a function.
NODES = frozenset(
    """
    Select Union Intersect Except Subquery CTE With TableAlias From Join Where Group Having Qualify Order Ordered Limit Offset Fetch Distinct
    Cube Rollup GroupingSets Tuple Paren Alias Column Identifier Star Literal Boolean Null Var DataType DataTypeParam Interval IntervalSpan
    WeekStart Values Window WindowSpec WithinGroup Filter IgnoreNulls RespectNulls
    Add Sub Mul Div IntDiv Mod DPipe EQ NEQ GT GTE LT LTE NullSafeEQ NullSafeNEQ Is In Between Like ILike SimilarTo Escape Not Neg
    BitwiseAnd BitwiseOr BitwiseXor BitwiseNot BitwiseLeftShift BitwiseRightShift Any All AtTimeZone Lateral
    """.split()  # noqa: SIM905  # a list of words reads better
)
