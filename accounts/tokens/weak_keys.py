"""RSA keys that are long enough and weak all the same."""

from functools import cache
from math import isqrt

from cryptography.hazmat.primitives.asymmetric import rsa

LEAST_EXPONENT = 65537  # NIST SP 800-56B § 6.2
FERMAT_STEPS = 100
_PRIMES = [n for n in range(3, 168, 2) if all(n % k for k in range(3, isqrt(n) + 1, 2))]


def weakness_of(key: rsa.RSAPublicKey) -> str | None:
    """What is wrong with it, None if nothing is known."""
    numbers = key.public_numbers()
    if numbers.e < LEAST_EXPONENT:
        return f"an exponent below {LEAST_EXPONENT}"
    if _is_of_roca(numbers.n):
        return "a modulus that can be factored (ROCA, CVE-2017-15361)"
    if _has_close_primes(numbers.n):
        return "a modulus that can be factored (close primes, CVE-2022-26320)"
    return None


def _is_of_roca(modulus: int) -> bool:
    """A prime of Infineon's library is k·M + 65537^a mod M: modulo each factor of M, so are its products.

    Of sound moduli one in 2^27 is so by chance.
    """
    return all(pow(modulus, _order(prime), prime) == 1 for prime in _PRIMES)


@cache
def _order(prime: int) -> int:
    """Of 65537 modulo `prime`; what it generates are all numbers whose power to that is 1."""
    return next(n for n in range(1, prime) if pow(65537, n, prime) == 1)


def _has_close_primes(modulus: int) -> bool:
    """Fermat's factorisation ends at once."""
    middle = isqrt(modulus - 1) + 1
    squares = (candidate * candidate - modulus for candidate in range(middle, middle + FERMAT_STEPS))
    return any(isqrt(square) ** 2 == square for square in squares)
