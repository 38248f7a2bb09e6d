/** Small programs that use the library. */
@NullMarked
package dev.imago.examples;

import org.jspecify.annotations.NullMarked;
