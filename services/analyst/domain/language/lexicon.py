"""The words of a question that belong to English, not to a model: what each does in a sentence."""

from services.analyst.domain.language.words import words

# Kinds of lexemes; the key says which of its kind it is.
ASK = "ask"
FILL = "fill"
AGG = "agg"
DISTINCT = "distinct"
BY = "by"
PREP = "prep"
REL = "rel"
AUX = "aux"
CMP = "cmp"
NEG = "neg"
NO = "no"
SUP = "sup"
AND = "and"
OR = "or"
THAN = "than"
SHARE = "share"
ORDER = "order"
EACH = "each"
EVENT = "event"
TEXT = "text"
NULL = "null"
VERSUS = "versus"
DIFF = "diff"
MORE = "more"

_ENTRIES = {
    ASK: {
        "list": "list|show|show me|give me|tell me|find|find me|get|get me|display|return|name the|name all|name|identify|enumerate|"
        "fetch|report|provide|look up|see|print|give|give the|i want to see|i want|i need|we need|output|which are|let me see|pull",
        "count": "how many|count|count the|count of all|how often|how many times",
        "sum": "how much|how much total",
        "what": "what|what is|what are|what was|what were|calculate|compute|determine|work out|tell me what",
        "which": "on which|in which|at which|for which|during which|which|which one|which ones|what kind of|what type of",
        "who": "who",
        "where": "where",
        "when": "when|on what date|on which date|at what date",
        "compare": "compare|compare the|comparison of",
    },
    FILL: {
        "": "the|a|an|please|can you|could you|would you|will you|i would like|i'd like|like|want|to know|know|me|us|our|my|we|you|i|it|its|their|"
        "they|them|he|she|this|these|those|there|here|'s|all|all the|all of the|data|dataset|in the data|in the dataset|in the database|in total|"
        "altogether|overall|given|some|any|such|so|ever|also|then|actually|currently on record|on record|in our records|"
        "respectively|itself|themselves|one|ones|just|exactly one of|together|recorded|a list of|list of|the list of|"
        "information about|information on|details of|details about|details for|details on|see|breakdown of|the breakdown of|a breakdown of|"
        "kind|that there|entire available time period|over the entire available time period|over the entire time period|"
        "over all time|of all time|in all|as well|"
        "complete|full|entire|existing|available|possible|whole|ok|okay|hi|hello|thanks|thank you|hey|corresponding|associated",
    },
    AGG: {
        "avg": "average|avg|mean|the average|on average|typical|average of|mean of|averaged",
        "sum": "total|sum|sum of|total of|the sum of|combined|cumulative total of|aggregate|summed|overall total|grand total",
        "count": "number of|total number of|count of|total count of|number|tally of|overall number of|"
        "frequency of",
        "max": "maximum|max|maximum of|peak",
        "min": "minimum|min|minimum of",
        "median": "median|median of",
        "stddev": "standard deviation of|standard deviation|std dev of|stddev of|stddev",
    },
    DISTINCT: {"": "distinct|different|unique|separate|individual"},
    BY: {"": "by|per|for each|for every|in each|of each|at each|on each|from each|to each|within each|across|across all|by each|grouped by|broken down by|"
        "split by|group by|for all|in every|at every|on every|of every|with each|segmented by|broken out by|depending on|"
        "according to|as a function of|break down by|and group by|by all|for each of the|for each of|for every single|split out by|on a single|in a single|within a single|on one single|"
        "per each"},
    PREP: {
        "of": "of|belonging to",
        "at": "in|at|on|inside|within|around|among|amongst|during|throughout|located in|based in|located at|situated in|based at|held in|"
        "held at|stored in|living in|residing in|coming in",
        "for": "for|about|regarding|concerning|related to|associated with|with respect to",
        "with": "with|having|have|has|had|that have|that has|that had|which have|which has|which had|who have|who has|who had|"
        "featuring|containing only|carrying|possessing|that possess",
        "from": "from|out of|departing|departing from|departed|departed from|depart|depart from|departs from|leaving|leaving from|left from|left|leave|"
        "leaves|leave from|leaves from|starting at|starting from|originating in|originating from|originating at|originate from|taking off from|"
        "took off from|take off from|coming from|come from|came from|outbound from|sent from|shipped from|begin at|began at|starting in",
        "to": "to|into|arriving at|arriving in|arrived at|arrived in|arrive at|arrive in|arriving to|landing in|landing at|landed in|landed at|land in|"
        "land at|bound for|bound to|headed to|headed for|heading to|heading for|going to|go to|goes to|went to|flying to|fly to|flies to|flew to|"
        "flown to|travelling to|traveling to|travelled to|inbound to|destined for|ending in|ending at|sent to|shipped to|delivered to|"
        "head to|arriving|connecting to|that go to|that went to|that fly to",
        "by": "operated by|flown by|made by|manufactured by|built by|produced by|sold by|bought by|written by|served by|handled by|placed by|run by|"
        "owned by|managed by|performed by|done by|carried out by|issued by|submitted by|filed by|taken by|created by|provided by|"
        "offered by|supplied by|purchased by|used by|earned by|generated by|made from|carried by|worked by|by the|"
        "held by|given by|processed by|reported by|posted by",
    },
    REL: {"": "that|who|where|when|whose|such that|with which|of which|whom|as|while"},
    AUX: {"": "is|are|was|were|be|been|being|do|does|did|do we have|are there|is there|were there|was there|there are|there is|there were|there was|"
        "have been|has been|had been|have had|have ever|do i have|did we have|would|will|can|could|should|equals to|"
        "take|takes|took|taken|make|makes|made|operate|operates|operated|operating|fly|flies|flew|flown|flying|use|uses|used|using|run|runs|ran|"
        "serve|serves|served|serving|sell|sells|sold|occur|occurs|occurred|happen|happens|happened|took place|take place|exist|exists|"
        "existed|go|goes|went|come|comes|came|get|gets|got|contain|contains|own|owns|owned|belong|belongs|belong to|belongs to|"
        "located|situated|based|registered|reported|listed|registered in|appear|appears|appeared|offer|offers|offered|"
        "generate|generates|generated|produce|produces|produced|earn|earns|earned|record|records|measured|observed|placed|place|"
        "handle|handles|handled|perform|performed|live|lives|work|works|manufactured|manufacture|provide|provides|provided|"
        "bring in|brought in|account for|accounts for|accounted for|look like|develop|developed|evolve|evolved|vary|varies|lie|lies|cover|covers|covered|travel|travels|traveled|travelled|visit|visits|visited|reach|reaches|reached|experience|experienced|saw"},
    CMP: {
        "gt": "more than|greater than|over|above|higher than|larger than|bigger than|longer than|exceeding|exceeds|exceed|exceeded|in excess of|"
        "older than|taller than|heavier than|> |>|bigger then|more then|at over|was over|upwards of|farther than|further than|faster than|"
        "hotter than|warmer than|greater then|higher then|surpassing|north of|worse than|better than|by more than|by over|that exceed|"
        "strictly more than|beyond|that exceeds|deeper than|wider than|costlier than|more expensive than",
        "ge": "at least|no less than|no fewer than|not less than|not fewer than|>=|greater than or equal to|more than or equal to|minimum of|"
        "a minimum of|by at least|not below|equal to or greater than|equal to or more than|from at least|not under",
        "lt": "less than|fewer than|under|below|lower than|smaller than|shorter than|younger than|cheaper than|<|less then|by less than|nearer than|"
        "slower than|closer than|colder than|cooler than|lighter than|earlier than|strictly less than|by under|fewer then|beneath|"
        "south of",
        "le": "at most|no more than|not more than|up to|<=|less than or equal to|fewer than or equal to|maximum of|a maximum of|by at most|"
        "not exceeding|not over|not above|no greater than|equal to or less than|no longer than|no higher than|not greater than",
        "eq": "exactly|equal to|equals|=|==|equal|precisely|is exactly|of exactly",
        "ne": "!=|<>|not equal to|different from|not exactly",
        "between": "between|ranging from|in the range of|in the range",
    },
    NEG: {"": "not|except|except for|excluding|other than|besides|apart from|but not|and not|non|aside from|that is not|that are not|not in|"
        "excluding the|outside|outside of|not from|exclude|leaving out|with the exception of|rather than|instead of|never"},
    NO: {"": "no|without|without a|without any|with no|have no|has no|had no|lacking|lack|lacks|lacked|not have|not have a|not have any|not having|"
        "not having any|with zero|zero|do not have|do not have any|does not have|does not have a|did not have|did not have any|with none|"
        "that have no|not a single|have not had any|have never had|never had|never have|never have any|not had any|never had any|not with any|"
        "having no|that lack|not have a known|have never|has never"},
    SUP: {
        "desc": "most|highest|largest|greatest|biggest|top|maximum number of|the most|most number of|the highest number of|highest number of|"
        "largest number of|greatest number of|biggest number of|highest count of|best|leading",
        "asc": "least|fewest|lowest|smallest|bottom|the least|the fewest|least number of|lowest number of|smallest number of|fewest number of|"
        "the lowest number of|worst performing",
        "worst": "worst",
        "common": "most common|most frequent|most popular|most often|most frequently|commonest|most commonly used|most used|most frequently used|"
        "most prevalent|most numerous|most widely used",
        "rare": "least common|least frequent|least popular|rarest|least often|least used|least frequently",
        "busy": "busiest|most active",
        "quiet": "quietest|least busy|least active",
        "first": "first|earliest|oldest date|initial",
        "last": "latest|most recent|newest date|last|final|most recently",
    },
    AND: {"": "and|as well as|along with|together with|plus|and also|and then|&|and the|alongside|but|and their|and its|with their|with its|with the"},
    OR: {"": "or|or else|either|and/or|or the"},
    THAN: {"": "than|then"},
    SHARE: {
        "share": "percentage of|percent of|what percent of|what percentage of|share of|proportion of|fraction of|% of|percentage|percent|proportion|"
        "portion of|what share of|what proportion of|what fraction of|rate of|the share of|share|ratio of|%|how large a share of|"
        "percentages of|in percent of|relative share of",
        "total": "share of total|share of the total|percentage of total|percent of total|percentage of the total|percent of the total|proportion of total|"
        "percentage of all|share of all|as a percentage of total|as a share of total|as a percentage of the total|as percentage of total|"
        "as a percent of total|fraction of total|fraction of the total|contribution to the total|contribution to total|proportion of all|"
        "as percent of total|% of total|percent of all|proportion of the total",
    },
    MORE: {
        "gt": "more|higher|greater|longer|larger|bigger|a higher|a greater|a longer|a larger|larger number of|a higher number of|older",
        "lt": "fewer|less|lower|shorter|smaller|a lower|a shorter|a smaller|younger",
    },
    ORDER: {
        "by": "sorted by|ordered by|order by|sort by|ranked by|rank by|in order of|sorted on|arranged by|sort them by|ranked on|rank them by|ordered on|"
        "sorted according to|when ranked by|based on|in terms of|as measured by|measured by|according to their",
        "desc": "descending|in descending order|from highest to lowest|highest first|largest first|desc|from most to least|high to low|"
        "from largest to smallest|in decreasing order|most first|from high to low|biggest first|newest first|latest first|descending order",
        "asc": "ascending|in ascending order|from lowest to highest|lowest first|smallest first|asc|from least to most|low to high|"
        "from smallest to largest|in increasing order|in chronological order|chronologically|oldest first|earliest first|from low to high|"
        "fewest first|ascending order",
        "alpha": "alphabetically|in alphabetical order|alphabetical order|sorted alphabetically|ordered alphabetically|by alphabetical order|sorted by name alphabetically",
    },
    EACH: {"": "each|every|each of the|each of|respective"},
    EVENT: {"": "time|times|occasion|occasions|instance|instances"},
    TEXT: {
        "starts": "starting with|starts with|start with|beginning with|begins with|begin with|that starts with|that start with|started with",
        "ends": "ending with|ends with|end with|that ends with|that end with|ended with",
        "contains": "containing|contains|contain|containing the word|that contain|that contains|including the word|with the word|contained|"
        "containing the text|includes the word|include the word|matching|like",
        "named": "named|called|named the|known as|titled|with the name|by the name of|whose name is|that is called|with name|with code|with the code|"
        "with id|whose code is|with the id|labelled|labeled|identified as|with title|with the title",
    },
    NULL: {
        "null": "missing|unknown|null|is null|empty|blank|not recorded|not known|unspecified|not available|undefined|not given|not specified|not set|"
        "unrecorded|not reported|not present|not provided|absent|not filled in|n a|was not recorded|were not recorded",
        "known": "known|not null|non null|not missing|not empty|present|recorded value|is known|specified|not unknown|not blank",
    },
    VERSUS: {"": "versus|vs|vs.|compared to|compared with|against|as opposed to|in comparison to|in comparison with|relative to"},
    DIFF: {
        "more": "how many more|how much more|how much higher|how much longer|how much greater|how much larger|by how much|how many additional|"
        "how much bigger|how much older|how much further|how much farther",
        "fewer": "how many fewer|how much less|how much lower|how much shorter|how much smaller",
        "difference": "difference|difference in|difference between|difference of|gap between|gap in|the difference in|the difference between|difference between the",
        "change": "change|change in|growth|growth in|increase|increase in|how did|how has|development of|trend of|trend in|trend for|change of|growth of",
        "percent": "percentage change in|percent change in|growth rate of|percentage growth in|percent growth in|percentage increase in|"
        "relative change in|growth rate in|percentage change of|rate of change of|growth rate|percentage change|percent change|"
        "% change in|% growth in|percentage growth|percent growth|% change|% growth",
        "previous": "year over year|month over month|quarter over quarter|week over week|day over day|year on year|month on month|yoy|mom|qoq|wow|"
        "compared to the previous period|from the previous period|versus the previous period|quarter on quarter|week on week",
    },
}  # fmt: skip

# Adjectives and what they are about: stems of columns they may rank by, and whether the greatest comes first.
ADJECTIVES: dict[str, tuple[str, bool]] = {
    "longest": ("duration length distance time hour minute day delay", True),
    "shortest": ("duration length distance time hour minute day height delay", False),
    "oldest": ("age year built date birth founded opened established created manufacture", False),
    "newest": ("year built date founded opened established created manufacture launched", True),
    "youngest": ("age birth", True),
    "highest": ("altitude elevation height", True),
    "lowest": ("altitude elevation height", False),
    "tallest": ("height", True),
    "largest": ("area size population capacity amount", True),
    "biggest": ("area size population capacity amount", True),
    "smallest": ("area size population capacity amount", False),
    "heaviest": ("weight mass", True),
    "lightest": ("weight mass", False),
    "cheapest": ("price cost fare rate fee", False),
    "priciest": ("price cost fare rate fee", True),
    "most expensive": ("price cost fare rate fee", True),
    "least expensive": ("price cost fare rate fee", False),
    "costliest": ("price cost fare fee", True),
    "fastest": ("speed velocity", True),
    "slowest": ("speed velocity", False),
    "hottest": ("temperature heat", True),
    "warmest": ("temperature", True),
    "coldest": ("temperature", False),
    "coolest": ("temperature", False),
    "windiest": ("wind", True),
    "farthest": ("distance", True),
    "furthest": ("distance", True),
    "nearest": ("distance", False),
    "closest": ("distance", False),
    "deepest": ("depth", True),
    "richest": ("income wealth gdp revenue", True),
    "poorest": ("income wealth gdp revenue", False),
    "most populous": ("population", True),
    "least populous": ("population", False),
    "most populated": ("population", True),
    "northernmost": ("latitude", True),
    "southernmost": ("latitude", False),
    "easternmost": ("longitude", True),
    "westernmost": ("longitude", False),
    "wettest": ("rain rainfall precipitation", True),
    "driest": ("rain rainfall precipitation", False),
    "best rated": ("rating score star", True),
    "highest rated": ("rating score star", True),
    "top rated": ("rating score star", True),
    "worst rated": ("rating score star", False),
    "lowest rated": ("rating score star", False),
    "latest": ("date time", True),
    "earliest": ("date time", False),
}
# Words for the ends of a join that plays a part: where something begins and where it ends.
BEGINNING = words("origin source from departure start sender departing departed pickup home seller begin")
ENDING = words("destination dest to arrival end target receiver recipient arriving arrived dropoff away buyer final")
ADDITIVE = words(
    "amount revenue sale cost quantity profit income expense spend spending premium volume unit order payment fee paid cogs earning"
)
# What no sum makes sense of, whatever else a name says.
NOT_ADDITIVE = words(
    "rate ratio percent percentage price average age temperature rating score index latitude longitude altitude elevation year month "
    "day hour speed probability share margin per rank level id code pressure humidity limit balance population capacity"
)
# Words that a value must not be mistaken for when it is written in small letters.
FUNCTION_WORDS: dict[tuple[str, ...], list[tuple[str, str]]] = {}
for _kind, _groups in _ENTRIES.items():
    for _key, _phrases in _groups.items():
        for _phrase in _phrases.split("|"):
            _entry = (_kind, _key)
            if _entry not in FUNCTION_WORDS.setdefault(tuple(_phrase.split()), []):
                FUNCTION_WORDS[tuple(_phrase.split())].append(_entry)
LONGEST = max(len(parts) for parts in FUNCTION_WORDS)

LONG_UNITS = {("miles", "per", "hour"): "mph", ("miles", "an", "hour"): "mph", ("square", "miles"): "square miles"}
UNITS: dict[str, str] = {}
for _unit, _names in {
    "seconds": "second sec s", "minutes": "minute min", "hours": "hour hr h", "days": "day", "weeks": "week", "months": "month",
    "years": "year", "miles": "mile mi", "kilometers": "kilometer kilometre km", "feet": "foot feet ft", "meters": "meter metre",
    "mph": "mph", "knots": "knot", "degrees": "degree fahrenheit celsius", "inches": "inch", "dollars": "dollar usd buck", "euros": "euro eur",
    "pounds": "pound", "percent": "percent percentage %", "kilograms": "kilogram kg kilo", "stars": "star",
}.items():  # fmt: skip
    for _name in _names.split():
        UNITS[_name] = _unit
# How many of the second are in one of the first.
CONVERSIONS = {
    ("hours", "minutes"): 60.0, ("minutes", "seconds"): 60.0, ("hours", "seconds"): 3600.0, ("minutes", "hours"): 1 / 60, ("seconds", "minutes"): 1 / 60,
    ("days", "hours"): 24.0, ("weeks", "days"): 7.0, ("days", "minutes"): 1440.0, ("kilometers", "miles"): 0.621371, ("miles", "kilometers"): 1.609344,
    ("feet", "meters"): 0.3048, ("meters", "feet"): 3.28084, ("kilometers", "meters"): 1000.0, ("years", "months"): 12.0,
    ("miles", "feet"): 5280.0, ("hours", "days"): 1 / 24, ("kilometers", "feet"): 3280.84,
}  # fmt: skip
