"""Where things stand in the shader's tables: columns of an object, entries of the surroundings.

Light and colours are linear (display gamma 2), RGB.
"""

from __future__ import annotations

# Columns of the object table. Things: texture, tint (3), repeats a metre, glow.
KIND, TEX, TINT, REPEAT, GLOW = 0, 1, 2, 5, 6
# People: skin, hair, lips and iris (3 each), beard 0..1, a number that shifts noise, garments.
SKIN_C, HAIR_C, LIPS_C, IRIS_C, BEARD, SEED, WEAR = 8, 11, 14, 17, 20, 21, 22
# A garment: colour A (3), colour B (3), pattern, scale; for top, bottom, shoe, hat, bag.
WEAR_STRIDE = 8
COLUMNS = WEAR + 5 * WEAR_STRIDE
PERSON, TEXTURED, LEAFY = 0.0, 1.0, 2.0

# Entries of the surroundings: direction to the sun (3) and its colour (3), light from the sky and
# from the ground (3 each), fog's density and colour (3).
SUN, SUN_C, SKY_C, BOUNCE, FOG, FOG_C = 0, 3, 6, 9, 12, 13
# The ground's texture, tint (3), repeats a metre; colours of the sky's top and rim (3); clouds.
GROUND_TEX, GROUND_TINT, GROUND_REPEAT, ZENITH, HORIZON, CLOUD = 16, 17, 20, 21, 24, 27
# The room's x, y, z limits (6; y's upper one is 0 outdoors), its walls, colour of ceiling, hills.
ROOM, WALL_TEX, WALL_TINT, CEIL, HILL_C = 28, 34, 35, 38, 41
# The shadow map's width in metres, bias, softness; a patch of other ground: texture (-1: none), the
# line x * a + z * b = c that bounds it (3), tint (3).
SHADOW, PATCH = 44, 48
ENVIRONMENT = 56
