/** The ground: where an image's bytes are kept. */
@NullMarked
package dev.imago.storage;

import org.jspecify.annotations.NullMarked;
