/** Fixtures for tests of this and the other modules. */
@NullMarked
package dev.imago.testing;

import org.jspecify.annotations.NullMarked;
