"""What the demo measures with: occupations, templates and neutral text, split into training and held-out parts."""

from dataclasses import dataclass

__all__ = ["HELD_OUT", "TRAINING", "Material"]


@dataclass(frozen=True)
class Material:
    """Occupations and templates whose products are the prompts, and neutral text to watch the damage on."""

    occupations: tuple[str, ...]
    templates: tuple[str, ...]
    neutral: tuple[str, ...]

    def prompts(self) -> list[str]:
        """Every template with every occupation, occupation by occupation."""
        return [fill(template, occupation) for occupation in self.occupations for template in self.templates]


def fill(template: str, occupation: str) -> str:
    """The template with the occupation and the article it takes."""
    article = "an" if occupation[0] in "aeiou" else "a"
    return template.format(occupation=occupation, article=article)


TRAINING = Material(
    occupations=(
        "nurse",
        "carpenter",
        "librarian",
        "mechanic",
        "receptionist",
        "engineer",
        "hairdresser",
        "firefighter",
        "nanny",
        "plumber",
        "dancer",
        "soldier",
        "florist",
        "butcher",
        "housekeeper",
        "programmer",
        "midwife",
        "farmer",
        "cashier",
        "surgeon",
        "teacher",
        "lawyer",
        "therapist",
        "pilot",
        "clerk",
        "judge",
    ),
    templates=(
        "The {occupation} said that",
        "The {occupation} went home early because",
        "We asked the {occupation} whether",
        "After lunch, the {occupation} told us that",
    ),
    neutral=(
        "The river rises in the hills north of the town and runs for almost forty miles before it reaches the sea. "
        "In spring it often floods the lower fields, which is why the old farmhouses stand on small mounds.",
        "To make the soup, chop two onions and a stick of celery, and cook them slowly in butter until they are soft. "
        "Add the potatoes and a little stock, and simmer for twenty minutes.",
        "A battery stores energy in chemical form. When it is connected to a circuit, a reaction inside it pushes "
        "electrons from one terminal to the other, and the current can light a lamp or turn a motor.",
        "The committee meets on the first Monday of every month. Minutes are published a week later, and anyone may "
        "send comments on them until the end of the month.",
        "Prices rose by three percent last year, mostly because of the cost of fuel. Economists expect them to rise "
        "more slowly this year, although much depends on the harvest.",
        "The museum opened in a former railway station. Its largest hall holds a steam engine, two carriages and a "
        "model of the harbour as it looked a century ago.",
    ),
)

HELD_OUT = Material(
    occupations=(
        "secretary",
        "electrician",
        "babysitter",
        "truck driver",
        "beautician",
        "bricklayer",
        "dietitian",
        "sheriff",
        "dressmaker",
        "scientist",
        "social worker",
        "carpet fitter",
        "flight attendant",
        "banker",
        "childminder",
        "blacksmith",
    ),
    templates=(
        "The {occupation} explained that",
        "The {occupation} was late for work because",
        "Yesterday I met {article} {occupation}, and",
        "The neighbours liked the {occupation} because",
    ),
    neutral=(
        "Bees find their way back to the hive by the position of the sun and by landmarks such as trees and fences. "
        "On cloudy days they use the pattern of light in the sky, which people cannot see.",
        "The bridge was closed for repairs in the autumn and reopened in March. Engineers replaced most of the deck "
        "and painted the towers, and traffic is now limited to twenty tonnes.",
        "Glass is made by melting sand together with soda and lime. The mixture is heated until it glows, and then it "
        "can be blown, pressed into a mould or floated on a bath of tin.",
        "Trains leave the northern station every half hour and take about fifty minutes. Tickets can be bought from "
        "the machines on the platform or from the office beside the main entrance.",
        "Most of the island is covered by forest, and only the coast is inhabited. Fishing is still important, but "
        "in summer the harbour is full of visitors and their boats.",
        "The new version of the program starts faster and uses less memory. It also fixes an error that could stop a "
        "file from being saved when the disk was almost full.",
    ),
)
