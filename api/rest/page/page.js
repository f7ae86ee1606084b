// Shows openapi.json, and tries calls. What comes from the server is only ever put in as text: there is no HTML but that of
// the elements made here.
'use strict'

const longest = 200_000 // characters of an answer that are shown

function el(tag, attributes, ...children) {
  const e = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes ?? {})) e.setAttribute(name, value)
  e.append(...children.filter((c) => c !== null && c !== undefined))
  return e
}

// resolve follows a reference within the document.
function resolve(doc, node) {
  for (let hops = 0; node && node.$ref && hops < 8; hops++) {
    const target = node.$ref.replace(/^#\//, '').split('/').reduce((at, key) => at?.[key], doc)
    node = { ...target, description: node.description ?? target?.description }
  }
  return node ?? {}
}

function nameOf(schema) {
  return schema.$ref ? schema.$ref.split('/').pop() : ''
}

function typeOf(doc, schema) {
  const s = resolve(doc, schema)
  if ('const' in s) return JSON.stringify(s.const)
  if (s.enum) return s.enum.map((v) => JSON.stringify(v)).join(' ')
  if (s.oneOf) return nameOf(schema) || s.oneOf.map((o) => typeOf(doc, o)).join(' or ')
  if (s.type === 'array') return 'list of ' + typeOf(doc, s.items ?? {})
  if (s.type === 'object' && s.additionalProperties) return 'texts to ' + typeOf(doc, s.additionalProperties)
  const bounds = s.maxLength ? `, up to ${s.maxLength}` : ''
  return (nameOf(schema) || [s.type ?? 'anything'].flat().join(' or ')) + bounds
}

// nested gives the parts of a schema that have fields of their own.
function nested(doc, schema) {
  const s = resolve(doc, schema)
  if (s.oneOf) return s.oneOf.flatMap((o) => nested(doc, o))
  if (s.items) return nested(doc, s.items)
  if (s.additionalProperties) return nested(doc, s.additionalProperties)
  return s.properties ? [schema] : []
}

function fields(doc, schema, above = []) {
  const s = resolve(doc, schema)
  if (s.oneOf) return el('div', null, ...s.oneOf.map((o) => part(doc, o, above)))
  const entries = Object.entries(s.properties ?? {})
  if (entries.length === 0) return el('p', { class: 'note' }, 'No fields.')
  const rows = entries.map(([name, field]) => {
    const must = s.required?.includes(name)
    const text = el('td', null, resolve(doc, field).description ?? '')
    for (const inner of nested(doc, field)) text.append(part(doc, inner, above))
    const label = el('td', null, el('code', null, name), must ? el('span', { class: 'mark' }, 'always') : null)
    return el('tr', null, label, el('td', null, typeOf(doc, field)), text)
  })
  return el('table', null, el('tbody', null, ...rows))
}

// part shows an object within another one, when it is opened.
function part(doc, schema, above) {
  const name = nameOf(schema)
  const title = name || 'fields'
  if (name && above.includes(name)) return el('p', { class: 'note' }, `${name}, as above`)
  const box = el('details', null, el('summary', null, title))
  box.addEventListener('toggle', () => {
    if (box.open && box.childElementCount === 1) box.append(fields(doc, schema, name ? [...above, name] : above))
  })
  return box
}

function refusals(doc, op) {
  const rows = Object.entries(op.responses).filter(([status]) => status !== '200').map(([status, answer]) =>
    el('tr', null, el('td', null, status), el('td', null), el('td', null, resolve(doc, answer).description ?? '')))
  return el('details', null, el('summary', null, 'Refusals'), el('table', null, el('tbody', null, ...rows)))
}

async function read(response) {
  const decoder = new TextDecoder()
  const reader = response.body.getReader()
  let text = ''
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return text
    text += decoder.decode(value, { stream: true })
    if (text.length > longest) {
      await reader.cancel()
      return text.slice(0, longest) + '\n… and more'
    }
  }
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2)
  } catch {
    return text // lines, or no JSON at all
  }
}

// keep puts the token of a login where the other calls take it from.
function keep(text) {
  try {
    const { token } = JSON.parse(text)
    if (typeof token === 'string' && token.startsWith('mg')) document.getElementById('token').value = token
  } catch {
    // no JSON, no token
  }
}

function trial(doc, path, op) {
  const example = op.requestBody?.content?.['application/json']?.example ?? {}
  const open = op.security?.length === 0
  const body = el('textarea', { 'aria-label': 'Body', spellcheck: 'false' })
  body.value = JSON.stringify(example, null, 2)
  const button = el('button', { type: 'button' }, 'Call')
  const status = el('p', { class: 'note', role: 'status' })
  const answer = el('pre', { hidden: '' })
  button.addEventListener('click', async () => {
    button.disabled = true
    status.textContent = '…'
    const headers = { 'Content-Type': 'application/json' }
    const token = document.getElementById('token').value.trim()
    if (token && !open) headers.Authorization = 'Bearer ' + token
    try {
      const response = await fetch('.' + path, {
        method: 'POST', headers, body: body.value, credentials: 'omit', cache: 'no-store', redirect: 'error',
      })
      const text = await read(response)
      status.textContent = `${response.status} ${response.statusText}`
      answer.textContent = pretty(text)
      answer.hidden = false
      if (open && response.ok) keep(text)
    } catch (err) {
      status.textContent = `No answer: ${err.message}`
      answer.hidden = true
    }
    button.disabled = false
  })
  return el('details', null, el('summary', null, 'Try it'), body, button, status, answer)
}

function operation(doc, path, op) {
  const open = op.security?.length === 0
  const summary = el('summary', null, el('span', { class: 'name' }, path.slice(1)), op.summary,
    open ? el('span', { class: 'mark' }, 'for everybody') : null)
  const box = el('details', { id: op.operationId }, summary)
  box.addEventListener('toggle', () => {
    if (!box.open || box.childElementCount > 1) return
    const [kind, good] = Object.entries(op.responses['200'].content)[0]
    box.append(
      el('p', { class: 'note' }, op.description ?? ''),
      el('h3', null, 'Input'), fields(doc, op.requestBody?.content?.['application/json']?.schema ?? {}),
      el('h3', null, kind === 'application/json' ? 'Answer' : 'Answer, in lines'), fields(doc, good.schema),
      refusals(doc, op), trial(doc, path, op))
  })
  box.dataset.text = `${path} ${op.summary}`.toLowerCase()
  return box
}

function show(doc) {
  const areas = document.getElementById('areas')
  const main = document.getElementById('operations')
  main.replaceChildren()
  for (const tag of doc.tags) {
    const section = el('section', { id: 'area-' + tag.name }, el('h2', null, tag.name),
      el('p', { class: 'note' }, tag.description ?? ''))
    for (const [path, item] of Object.entries(doc.paths)) {
      if (item.post?.tags.includes(tag.name)) section.append(operation(doc, path, item.post))
    }
    main.append(section)
    areas.append(el('a', { href: '#area-' + tag.name }, tag.name))
  }
}

function find(wanted) {
  for (const section of document.querySelectorAll('main section')) {
    let any = false
    for (const box of section.querySelectorAll(':scope > details')) {
      box.hidden = !box.dataset.text.includes(wanted)
      any ||= !box.hidden
    }
    section.hidden = !any
  }
}

async function start() {
  try {
    const response = await fetch('openapi.json', { credentials: 'omit' })
    if (!response.ok) throw new Error(`${response.status}`)
    show(await response.json())
  } catch (err) {
    document.getElementById('state').textContent = `openapi.json cannot be shown: ${err.message}`
  }
  document.getElementById('find').addEventListener('input', (e) => find(e.target.value.trim().toLowerCase()))
}

start()
